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
    /// The least that a client has to send or take while it is waited for.
    pub rate: MinRate,
}

/// Where a connection of HTTP/1, or one stream of HTTP/2, stands; shared by whoever moves its bytes and
/// the service that answers its requests.
#[derive(Clone)]
pub(in crate::http) struct Progress(Arc<ProgressState>);

struct ProgressState {
    start: Instant,
    /// Milliseconds from `start` at which the peer must have sent something; `NEVER`: whenever it likes.
    due: AtomicU64,
    /// Milliseconds from `start` at which it began to wait with a deadline, or its last stream ended.
    since: AtomicU64,
    /// Milliseconds from `start` at which something of an answer of HTTP/2 was written last. Apart: a stream
    /// may be over by then.
    written: AtomicU64,
    /// Whether something of HTTP/2 is to be written, or an answer has begun to be and not ended.
    holding: AtomicBool,
    /// What the connection is waiting for.
    waiting: AtomicU64,
    /// The number of the body of which the peer has not sent all yet, or we have not read it; 0: none.
    owed: AtomicU64,
    /// How many bodies there were.
    bodies: AtomicU64,
    /// Whether the next response is the last.
    leaving: AtomicBool,
    /// What the end of the connection tells.
    close_delimited: CloseDelimited,
    /// Responses that are complete.
    answers: AtomicU64,
    /// Pieces of the response that were handed over to be sent, doubled; odd while one more is asked for.
    handed: AtomicU64,
    headway: Arc<Delivery>,
    /// Whether a write waits for the peer.
    stalled: AtomicBool,
    /// Why the peer was given up.
    given_up: OnceLock<StopReason>,
    /// What ends the job that has the connection to itself.
    tunnel: OnceLock<Stop>,
    /// The connection of a stream of HTTP/2.
    connection: Option<Progress>,
    /// Streams of HTTP/2 that are under way.
    streams: AtomicUsize,
    /// Whether the connection is wanted for another.
    room: Notify,
}

/// A stream of HTTP/2 that its connection is not idle for.
pub(in crate::http) struct OpenStream(Progress);

const NEVER: u64 = u64::MAX;

/// The number of no body.
const NOBODY: u64 = 0;

/// Values of `ProgressState::waiting`.
mod waiting_for {
    pub(in crate::http) const HEAD_START: u64 = 0;
    pub(in crate::http) const HEAD_REST: u64 = 1;
    pub(in crate::http) const ANSWER: u64 = 2;
    /// HTTP is over.
    pub(in crate::http) const NOTHING: u64 = 3;
    /// HTTP/2: each stream waits for something of its own.
    pub(in crate::http) const STREAMS: u64 = 4;
    /// The response is complete, and not all of it is on its way.
    pub(in crate::http) const SENDING: u64 = 5;
}

impl Progress {
    /// A connection that is not ready to be read from: it has no deadline.
    pub(in crate::http) fn new() -> Progress {
        Progress::from(waiting_for::HEAD_START, None)
    }

    /// A stream of a connection of HTTP/2, which begins with a whole head.
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

    /// Notes that the connection speaks HTTP/2: each stream has deadlines of its own.
    pub(in crate::http) fn multiplexed(&self) {
        self.expect(waiting_for::STREAMS, None);
    }

    /// Says whether the connection speaks HTTP/2.
    pub(in crate::http) fn is_multiplexed(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) == waiting_for::STREAMS
    }

    /// Has the connection leave, though it may have done nothing wrong.
    pub(in crate::http) fn make_room(&self) {
        self.0.room.notify_one();
    }

    /// Waits until the connection is wanted for another.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub(in crate::http) async fn room_wanted(&self) {
        self.0.room.notified().await;
    }

    /// Notes whether something of HTTP/2 is to be written, or an answer has begun to be and not ended: h2
    /// keeps what its client has no room for, so that a stream that is over may have some on its way.
    pub(in crate::http) fn holds(&self, is_holding: bool) {
        self.0.holding.store(is_holding, Ordering::Relaxed);
    }

    /// Says whether something may be on its way though no stream is.
    pub(in crate::http) fn is_holding(&self) -> bool {
        self.0.holding.load(Ordering::Relaxed)
    }

    /// Notes that something of an answer was written.
    pub(in crate::http) fn wrote(&self) {
        self.0.written.store(millis(self.0.start.elapsed()), Ordering::Relaxed);
    }

    /// Says for how long no stream has ended, and nothing of an answer was written.
    pub(in crate::http) fn quiet(&self) -> Duration {
        self.over().min(self.passed(&self.0.written))
    }

    /// Says for how long no stream has ended, whatever was written.
    pub(in crate::http) fn over(&self) -> Duration {
        self.passed(&self.0.since)
    }

    fn passed(&self, moment: &AtomicU64) -> Duration {
        self.0.start.elapsed().saturating_sub(Duration::from_millis(moment.load(Ordering::Relaxed)))
    }

    /// Notes that a stream of the connection is under way.
    pub(in crate::http) fn stream(&self) -> OpenStream {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        OpenStream(self.clone())
    }

    /// Notes that a request's head is complete. While its handler works, no deadline of the client runs; a
    /// body and an answer have their own.
    pub(in crate::http) fn answering(&self) {
        self.0.headway.begin();
        self.expect(waiting_for::ANSWER, None);
    }

    /// Notes why the peer was given up; the first reason stays.
    pub(in crate::http) fn gives_up(&self, reason: StopReason) {
        let _first = self.0.given_up.set(reason);
        if let Some(stop) = self.0.tunnel.get() {
            stop.raise(reason);
        }
    }

    /// Says why the peer was given up, or the connection of the stream.
    pub(in crate::http) fn given_up(&self) -> Option<StopReason> {
        let own = self.0.given_up.get().copied();
        own.or_else(|| self.0.connection.as_ref()?.given_up())
    }

    /// Notes what ends the job that has the connection to itself from now on.
    pub(in crate::http) fn tunnels(&self, stop: Stop) {
        let _once = self.0.tunnel.set(stop);
    }

    /// Notes whether a write waits for the peer.
    pub(in crate::http) fn stalls(&self, is_stalled: bool) {
        self.0.stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// Notes how many bytes the peer has taken, while a write waits for it.
    pub(in crate::http) fn takes(&self, bytes: u64) {
        self.0.headway.take(bytes, self.0.streams.load(Ordering::Relaxed));
    }

    /// Returns what says how many bytes the peer has taken.
    pub(in crate::http) fn taker(&self) -> Arc<dyn Taker> {
        self.0.headway.clone()
    }

    /// Says why what waits for the peer is to wait no longer, if it is; and has this task woken when it is.
    pub(in crate::http) fn is_over(&self, context: &Context<'_>) -> Option<StopReason> {
        self.0.headway.is_over(context).then_some(StopReason::OutOfShare)
    }

    /// Reports whether a write of the stream's connection waits for the peer.
    pub(in crate::http) fn is_held_up(&self) -> bool {
        self.0.connection.as_ref().is_some_and(|connection| connection.0.stalled.load(Ordering::Relaxed))
    }

    /// Says how many bytes of the response were handed over.
    pub(in crate::http) fn moved(&self) -> u64 {
        self.0.headway.handed()
    }

    /// Notes that the response is complete.
    pub(in crate::http) fn answered(&self) {
        self.0.answers.store(self.answers() + 1, Ordering::Relaxed);
        self.0.waiting.store(waiting_for::SENDING, Ordering::Relaxed);
    }

    /// Notes that all that was written is on its way: behind a response, the connection is idle.
    pub(in crate::http) fn flushed(&self, keep_alive: Duration) {
        if self.0.waiting.load(Ordering::Relaxed) == waiting_for::SENDING {
            self.expect(waiting_for::HEAD_START, Some(keep_alive));
        }
    }

    /// Notes that the connection has left HTTP, and its deadlines with it.
    pub(in crate::http) fn switched(&self) {
        self.expect(waiting_for::NOTHING, None);
    }

    /// Says whether the connection has left HTTP.
    pub(in crate::http) fn is_switched(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) == waiting_for::NOTHING
    }

    /// Says whether a response is not complete.
    pub(in crate::http) fn is_answering(&self) -> bool {
        matches!(self.0.waiting.load(Ordering::Relaxed), waiting_for::ANSWER | waiting_for::STREAMS)
    }

    /// Says whether not all of the request's body was read.
    pub(in crate::http) fn has_unread_body(&self) -> bool {
        self.0.owed.load(Ordering::Relaxed) != NOBODY
    }

    /// Says how many responses are complete.
    pub(in crate::http) fn answers(&self) -> u64 {
        self.0.answers.load(Ordering::Relaxed)
    }

    /// Notes whether a request has a body that is to come, and returns its number.
    pub(in crate::http) fn body_started(&self, body: bool) -> u64 {
        let number = if body { self.0.bodies.fetch_add(1, Ordering::Relaxed) + 1 } else { NOBODY };
        self.0.owed.store(number, Ordering::Relaxed);
        number
    }

    /// Notes that all of a body was read. That may be after the next request has come, whose body is
    /// another.
    pub(in crate::http) fn body_consumed(&self, number: u64) {
        let _another = self.0.owed.compare_exchange(number, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that the first byte of a head has come.
    pub(in crate::http) fn begun(&self, head: Duration) {
        // What comes of a body that nobody reads any more is no head.
        if let waiting_for::HEAD_START | waiting_for::SENDING = self.0.waiting.load(Ordering::Relaxed)
            && !self.has_unread_body()
        {
            self.expect(waiting_for::HEAD_REST, Some(head));
        }
    }

    /// Notes that a piece of the response was handed over: the head, or so many bytes of the body.
    pub(in crate::http) fn handed(&self, bytes: usize) {
        self.0.headway.hand(bytes);
        let handed = self.0.handed.load(Ordering::Relaxed);
        self.0.handed.store((handed | 1) + 1, Ordering::Relaxed);
    }

    /// Notes that there is room for another piece, and none yet.
    pub(in crate::http) fn asked(&self) {
        let handed = self.0.handed.load(Ordering::Relaxed);
        self.0.handed.store(handed | 1, Ordering::Relaxed);
    }

    /// Returns which piece of the response the peer is to take; none: it is not the peer that is slow.
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

    /// Says what the end of the connection tells: whoever closes it looks there.
    pub(in crate::http) fn close_delimited(&self) -> &CloseDelimited {
        &self.0.close_delimited
    }

    /// Says whether the next response is the last one.
    pub(in crate::http) fn is_leaving(&self) -> bool {
        self.0.leaving.load(Ordering::Relaxed)
    }

    /// Says whether no byte of a request has come since the last response.
    pub(in crate::http) fn is_idle(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) == waiting_for::HEAD_START
    }

    /// Returns when the connection became idle, or `None` while a request is in progress.
    pub(in crate::http) fn idle_since(&self) -> Option<Instant> {
        let is_idle = match self.0.waiting.load(Ordering::Relaxed) {
            waiting_for::HEAD_START => true,
            // Pairs with the end of the last stream, which notes the time first.
            waiting_for::STREAMS => self.0.streams.load(Ordering::Acquire) == 0,
            _ => false,
        };
        is_idle.then(|| self.0.start + Duration::from_millis(self.0.since.load(Ordering::Relaxed)))
    }

    /// Returns when the peer must have sent something, or the exchange must be over.
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
