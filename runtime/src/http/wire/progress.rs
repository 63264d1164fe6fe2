//! What a connection or stream waits for, and until when.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Context;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::close_delimited::CloseDelimited;
use super::delivery::Delivery;
use super::rate::MinRate;
use crate::job::{Stop, StopReason, Taker};

/// How long a peer may keep a connection waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From the connection to its first byte.
    pub first_byte: Duration,
    /// From a head's first byte to its last.
    pub head: Duration,
    /// From the end of a response, once it is sent, to the first byte of the next request.
    pub keep_alive: Duration,
    /// From one byte written to the next while the peer has room for none.
    pub write_idle: Duration,
    /// The least rate at which a client has to send or read while the daemon waits for it.
    pub rate: MinRate,
}

/// The state of an HTTP/1 connection, or of one HTTP/2 stream. The wrappers that move its bytes share it
/// with the service that answers its requests.
#[derive(Clone)]
pub(in crate::http) struct Progress(Arc<ProgressState>);

struct ProgressState {
    start: Instant,
    /// Milliseconds from `start` at which the peer must have sent something, or `NEVER`.
    due: AtomicU64,
    /// Milliseconds from `start` at which the latest wait with a deadline began, or the last stream ended.
    since: AtomicU64,
    /// Milliseconds from `start` at which part of an HTTP/2 response was last written. Separate from
    /// `since`, because the stream may have ended by then.
    written: AtomicU64,
    /// Whether HTTP/2 bytes wait to be written, or a response has begun and not ended.
    holding: AtomicBool,
    /// What the connection is waiting for.
    waiting: AtomicU64,
    /// The number of the request body that is not fully sent or not fully read; 0 if there is none.
    owed: AtomicU64,
    /// How many request bodies there were.
    bodies: AtomicU64,
    /// Whether the next response is the last.
    leaving: AtomicBool,
    /// Whether the connection may be closed now.
    close_delimited: CloseDelimited,
    /// How many responses are complete.
    answers: AtomicU64,
    /// Twice the number of pieces of responses that were handed over, less 1 while another piece is wanted.
    handed: AtomicU64,
    headway: Arc<Delivery>,
    /// Whether a write waits for the peer.
    stalled: AtomicBool,
    /// Why the daemon has given up the peer.
    given_up: OnceLock<StopReason>,
    /// Stops the job that a switched connection belongs to.
    tunnel: OnceLock<Stop>,
    /// The connection of an HTTP/2 stream; `None` for a connection.
    connection: Option<Progress>,
    /// HTTP/2 streams in progress.
    streams: AtomicUsize,
    /// Signals that the connection should leave, to make room for another.
    room: Notify,
}

/// Counts one HTTP/2 stream as in progress until dropped. The connection is not idle meanwhile.
pub(in crate::http) struct OpenStream(Progress);

const NEVER: u64 = u64::MAX;

/// The number that stands for no body.
const NOBODY: u64 = 0;

/// Values of `ProgressState::waiting`.
mod waiting_for {
    pub(in crate::http) const HEAD_START: u64 = 0;
    pub(in crate::http) const HEAD_REST: u64 = 1;
    pub(in crate::http) const ANSWER: u64 = 2;
    /// HTTP is over on this connection.
    pub(in crate::http) const NOTHING: u64 = 3;
    /// HTTP/2: each stream has a state of its own.
    pub(in crate::http) const STREAMS: u64 = 4;
    /// The response is complete, but part of it is not flushed yet.
    pub(in crate::http) const SENDING: u64 = 5;
}

impl Progress {
    /// A connection that cannot be read from yet. It has no deadline.
    pub(in crate::http) fn new() -> Progress {
        Progress::from(waiting_for::HEAD_START, None)
    }

    /// A stream of an HTTP/2 connection. It begins with a complete head.
    pub(in crate::http) fn of_stream(connection: &Progress) -> Progress {
        Progress::from(waiting_for::ANSWER, Some(connection.clone()))
    }

    fn from(waiting: u64, connection: Option<Progress>) -> Progress {
        Progress(Arc::new(ProgressState {
            start: Instant::now(),
            due: AtomicU64::new(NEVER),
            since: AtomicU64::new(0),
            written: AtomicU64::new(0),
            holding: AtomicBool::new(false),
            waiting: AtomicU64::new(waiting),
            owed: AtomicU64::new(NOBODY),
            bodies: AtomicU64::new(NOBODY),
            leaving: AtomicBool::new(false),
            close_delimited: CloseDelimited::default(),
            answers: AtomicU64::new(0),
            handed: AtomicU64::new(0),
            headway: Delivery::within(connection.as_ref().map(|connection| connection.0.headway.clone())),
            stalled: AtomicBool::new(false),
            given_up: OnceLock::new(),
            tunnel: OnceLock::new(),
            connection,
            streams: AtomicUsize::new(0),
            room: Notify::new(),
        }))
    }

    fn expect(&self, waiting: u64, within: Option<Duration>) {
        let due = within.map_or(NEVER, |within| {
            let now = self.0.start.elapsed();
            self.0.since.store(millis(now), Ordering::Relaxed);
            millis(now + within)
        });
        self.0.due.store(due, Ordering::Relaxed);
        self.0.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Notes that the connection can be read from.
    pub(in crate::http) fn connected(&self, first_byte: Duration) {
        self.expect(waiting_for::HEAD_START, Some(first_byte));
    }

    /// Notes that the connection speaks HTTP/2. Each stream has deadlines of its own.
    pub(in crate::http) fn multiplexed(&self) {
        self.expect(waiting_for::STREAMS, None);
    }

    /// Reports whether the connection speaks HTTP/2.
    pub(in crate::http) fn is_multiplexed(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) == waiting_for::STREAMS
    }

    /// Asks the connection to leave, although it may have done nothing wrong.
    pub(in crate::http) fn make_room(&self) {
        self.0.room.notify_one();
    }

    /// Waits until the connection is asked to leave.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub(in crate::http) async fn room_wanted(&self) {
        self.0.room.notified().await;
    }

    /// Notes whether HTTP/2 bytes wait to be written, or a response has begun and not ended. h2 keeps what
    /// its client has no window for, so a stream that has ended may still have bytes to send.
    pub(in crate::http) fn holds(&self, is_holding: bool) {
        self.0.holding.store(is_holding, Ordering::Relaxed);
    }

    /// Reports whether bytes may still have to be sent, although no stream is in progress.
    pub(in crate::http) fn is_holding(&self) -> bool {
        self.0.holding.load(Ordering::Relaxed)
    }

    /// Notes that part of a response was written.
    pub(in crate::http) fn wrote(&self) {
        self.0.written.store(millis(self.0.start.elapsed()), Ordering::Relaxed);
    }

    /// Returns the time since a stream last ended or part of a response was last written.
    pub(in crate::http) fn quiet(&self) -> Duration {
        self.over().min(self.passed(&self.0.written))
    }

    /// Returns the time since a stream last ended, whatever was written.
    pub(in crate::http) fn over(&self) -> Duration {
        self.passed(&self.0.since)
    }

    fn passed(&self, moment: &AtomicU64) -> Duration {
        self.0.start.elapsed().saturating_sub(Duration::from_millis(moment.load(Ordering::Relaxed)))
    }

    /// Counts a stream as in progress until the returned guard is dropped.
    pub(in crate::http) fn stream(&self) -> OpenStream {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        OpenStream(self.clone())
    }

    /// Notes that the head of a request is complete. No deadline runs for the client while the handler
    /// works. The bodies of request and response have deadlines of their own.
    pub(in crate::http) fn answering(&self) {
        self.0.headway.begin();
        self.expect(waiting_for::ANSWER, None);
    }

    /// Notes why the daemon gives up the peer. The first reason stays.
    pub(in crate::http) fn gives_up(&self, reason: StopReason) {
        let _first = self.0.given_up.set(reason);
        if let Some(stop) = self.0.tunnel.get() {
            stop.raise(reason);
        }
    }

    /// Returns why the daemon has given up the peer of this stream or of its connection.
    pub(in crate::http) fn given_up(&self) -> Option<StopReason> {
        let own = self.0.given_up.get().copied();
        own.or_else(|| self.0.connection.as_ref()?.given_up())
    }

    /// Sets what stops the job that the connection belongs to from now on.
    pub(in crate::http) fn tunnels(&self, stop: Stop) {
        let _once = self.0.tunnel.set(stop);
    }

    /// Notes whether a write waits for the peer.
    pub(in crate::http) fn stalls(&self, is_stalled: bool) {
        self.0.stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// Notes how many bytes the peer has taken in all. Called while a write waits for it.
    pub(in crate::http) fn takes(&self, bytes: u64) {
        self.0.headway.take(bytes, self.0.streams.load(Ordering::Relaxed));
    }

    /// Returns the object that reports how many bytes the peer has taken.
    pub(in crate::http) fn taker(&self) -> Arc<dyn Taker> {
        self.0.headway.clone()
    }

    /// Returns why waiting for the peer should end, if it should. Otherwise wakes this task when it should.
    pub(in crate::http) fn is_over(&self, context: &Context<'_>) -> Option<StopReason> {
        self.0.headway.is_over(context).then_some(StopReason::OutOfShare)
    }

    /// Reports whether a write of the stream's connection waits for the peer.
    pub(in crate::http) fn is_held_up(&self) -> bool {
        self.0.connection.as_ref().is_some_and(|connection| connection.0.stalled.load(Ordering::Relaxed))
    }

    /// Returns how many bytes of responses were handed over.
    pub(in crate::http) fn moved(&self) -> u64 {
        self.0.headway.handed()
    }

    /// Notes that the response is complete.
    pub(in crate::http) fn answered(&self) {
        self.0.answers.store(self.answers() + 1, Ordering::Relaxed);
        self.0.waiting.store(waiting_for::SENDING, Ordering::Relaxed);
    }

    /// Notes that all written bytes are flushed. After a response, the connection is then idle.
    pub(in crate::http) fn flushed(&self, keep_alive: Duration) {
        if self.0.waiting.load(Ordering::Relaxed) == waiting_for::SENDING {
            self.expect(waiting_for::HEAD_START, Some(keep_alive));
        }
    }

    /// Notes that the connection has left HTTP. It has no deadlines any more.
    pub(in crate::http) fn switched(&self) {
        self.expect(waiting_for::NOTHING, None);
    }

    /// Reports whether the connection has left HTTP.
    pub(in crate::http) fn is_switched(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) == waiting_for::NOTHING
    }

    /// Reports whether a response is not complete yet. Always `true` on an HTTP/2 connection.
    pub(in crate::http) fn is_answering(&self) -> bool {
        matches!(self.0.waiting.load(Ordering::Relaxed), waiting_for::ANSWER | waiting_for::STREAMS)
    }

    /// Reports whether part of the request body is still unread.
    pub(in crate::http) fn has_unread_body(&self) -> bool {
        self.0.owed.load(Ordering::Relaxed) != NOBODY
    }

    /// Returns how many responses are complete.
    pub(in crate::http) fn answers(&self) -> u64 {
        self.0.answers.load(Ordering::Relaxed)
    }

    /// Notes whether a request has a body to be read, and returns the number of that body.
    pub(in crate::http) fn body_started(&self, body: bool) -> u64 {
        let number = if body { self.0.bodies.fetch_add(1, Ordering::Relaxed) + 1 } else { NOBODY };
        self.0.owed.store(number, Ordering::Relaxed);
        number
    }

    /// Notes that a body was read to its end. The next request, with a body of its own, may have come
    /// before.
    pub(in crate::http) fn body_consumed(&self, number: u64) {
        let _another = self.0.owed.compare_exchange(number, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that the first byte of a head has come.
    pub(in crate::http) fn begun(&self, head: Duration) {
        // The rest of an abandoned body is no head.
        if let waiting_for::HEAD_START | waiting_for::SENDING = self.0.waiting.load(Ordering::Relaxed)
            && !self.has_unread_body()
        {
            self.expect(waiting_for::HEAD_REST, Some(head));
        }
    }

    /// Notes that a piece of the response was handed over: the head, or this many bytes of the body.
    pub(in crate::http) fn handed(&self, bytes: usize) {
        self.0.headway.hand(bytes);
        let handed = self.0.handed.load(Ordering::Relaxed);
        self.0.handed.store((handed | 1) + 1, Ordering::Relaxed);
    }

    /// Notes that another piece is wanted, and none is there yet.
    pub(in crate::http) fn asked(&self) {
        let handed = self.0.handed.load(Ordering::Relaxed);
        self.0.handed.store(handed | 1, Ordering::Relaxed);
    }

    /// Returns which piece the peer has yet to take, as a number that changes with each piece. Returns
    /// `None` if the peer is not the slow side.
    pub(in crate::http) fn untaken(&self) -> Option<u64> {
        Some(self.0.handed.load(Ordering::Relaxed)).filter(|handed| *handed > 0 && handed % 2 == 0)
    }

    /// Reports whether the peer may be in the middle of a request.
    pub(in crate::http) fn is_mid_request(&self) -> bool {
        self.has_unread_body() || self.0.waiting.load(Ordering::Relaxed) == waiting_for::HEAD_REST
    }

    /// Notes that the next response is the last one.
    pub(in crate::http) fn leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    /// Returns the state that says whether the connection may be closed.
    pub(in crate::http) fn close_delimited(&self) -> &CloseDelimited {
        &self.0.close_delimited
    }

    /// Reports whether the next response is the last one.
    pub(in crate::http) fn is_leaving(&self) -> bool {
        self.0.leaving.load(Ordering::Relaxed)
    }

    /// Reports whether no byte of a request has come since the last response.
    pub(in crate::http) fn is_idle(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) == waiting_for::HEAD_START
    }

    /// Returns when the connection became idle, or `None` while a request is in progress.
    pub(in crate::http) fn idle_since(&self) -> Option<Instant> {
        let is_idle = match self.0.waiting.load(Ordering::Relaxed) {
            waiting_for::HEAD_START => true,
            // Pairs with `OpenStream::drop`, which notes the time before it counts down.
            waiting_for::STREAMS => self.0.streams.load(Ordering::Acquire) == 0,
            _ => false,
        };
        is_idle.then(|| self.0.start + Duration::from_millis(self.0.since.load(Ordering::Relaxed)))
    }

    /// Returns when the peer must have sent something.
    pub(in crate::http) fn due(&self) -> Option<Instant> {
        match self.0.due.load(Ordering::Relaxed) {
            NEVER => None,
            due => Some(self.0.start + Duration::from_millis(due)),
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let shared = &*self.0.0;
        shared.since.store(millis(shared.start.elapsed()), Ordering::Relaxed);
        shared.streams.fetch_sub(1, Ordering::Release);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests;
