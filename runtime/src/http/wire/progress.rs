//! The state of a connection or stream: what it waits for, and until when.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::body_debt::BodyDebt;
use super::client_memory::MemoryAccount;
use super::close_delimited::CloseDelimited;
use super::delivery::Delivery;
use super::departure::Departure;
use super::rate::MinRate;
use super::read_deadline::{ReadDeadline, ReadPhase};
use super::stream_activity::StreamActivity;
use crate::job::{Stop, StopReason};

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

/// The state machines of a connection or stream, and what concerns several of them. Each is read as it is, and changed
/// through its writer, a type of its own. The writers of `reading` and `streams` do not leave `wire`.
pub(in crate::http) struct ProgressState {
    /// What the client has to send next.
    pub(in crate::http) reading: ReadDeadline,
    /// The request body that is not read to its end.
    pub(in crate::http) body: BodyDebt,
    /// How much of the responses was handed over, and how much the client has taken.
    pub(in crate::http) delivery: Arc<Delivery>,
    /// Whether the connection may be closed now.
    pub(in crate::http) close_delimited: CloseDelimited,
    /// The streams of an HTTP/2 connection.
    pub(in crate::http) streams: StreamActivity,
    /// How the connection is told to leave.
    pub(in crate::http) departure: Departure,
    /// The memory that the connection holds for its client.
    pub(in crate::http) memory: MemoryAccount,
    /// How many responses are complete.
    answers: AtomicU64,
    /// Whether a write waits for the peer.
    stalled: AtomicBool,
    /// Why the daemon has given up the peer.
    given_up: OnceLock<StopReason>,
    /// Stops the job that a switched connection belongs to.
    tunnel: OnceLock<Stop>,
    /// The connection of an HTTP/2 stream; `None` for a connection.
    connection: Option<Progress>,
}

/// A request body that is not read to its end yet.
#[derive(Clone)]
pub(in crate::http) struct OwedBody {
    pub(in crate::http) progress: Progress,
    number: u64,
}

/// Counts one HTTP/2 stream as in progress until dropped. The connection is not idle meanwhile.
pub(in crate::http) struct OpenStream(Progress);

impl Progress {
    /// A connection that cannot be read from yet. It has no deadline.
    pub(in crate::http) fn new(memory: MemoryAccount) -> Progress {
        Progress::from(ReadPhase::HeadStart, memory, None)
    }

    /// A stream of an HTTP/2 connection. It begins with a complete head.
    pub(in crate::http) fn of_stream(connection: &Progress) -> Progress {
        Progress::from(ReadPhase::Answer, connection.memory.clone(), Some(connection.clone()))
    }

    fn from(phase: ReadPhase, memory: MemoryAccount, connection: Option<Progress>) -> Progress {
        let start = Instant::now();
        Progress(Arc::new(ProgressState {
            reading: ReadDeadline::new(start, phase),
            body: BodyDebt::default(),
            delivery: Delivery::within(connection.as_ref().map(|connection| connection.delivery.clone())),
            close_delimited: CloseDelimited::default(),
            streams: StreamActivity::new(start),
            departure: Departure::default(),
            memory,
            answers: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            given_up: OnceLock::new(),
            tunnel: OnceLock::new(),
            connection,
        }))
    }

    /// Notes whether a request has a body to be read.
    pub(in crate::http) fn owe_body(&self, is_there: bool) -> OwedBody {
        OwedBody { progress: self.clone(), number: self.body.start(is_there) }
    }

    /// Notes that a request has no body.
    pub(in crate::http) fn owe_nothing(&self) {
        self.body.start(false);
    }

    /// Counts a stream as in progress until the returned guard is dropped.
    pub(in crate::http) fn stream(&self) -> OpenStream {
        self.streams.writer().open();
        OpenStream(self.clone())
    }
}

impl Deref for Progress {
    type Target = ProgressState;

    fn deref(&self) -> &ProgressState {
        &self.0
    }
}

impl ProgressState {
    /// Notes that the connection speaks HTTP/2. Each stream has deadlines of its own.
    pub(in crate::http) fn multiplexed(&self) {
        self.reading.writer().multiplexed();
        self.streams.writer().begin(self.reading.since());
    }

    /// Reports whether this is the state of an HTTP/2 stream.
    pub(in crate::http) fn is_stream(&self) -> bool {
        self.connection.is_some()
    }

    /// Reports whether the connection speaks HTTP/2.
    pub(in crate::http) fn is_multiplexed(&self) -> bool {
        self.reading.phase() == ReadPhase::Streams
    }

    /// Notes that the first byte of a head has come.
    pub(in crate::http) fn begun(&self, head: Duration) {
        // The rest of an abandoned body is no head.
        if !self.body.is_owed() {
            self.reading.writer().head_begun(head);
        }
    }

    /// Notes that the head of a request is complete.
    pub(in crate::http) fn answering(&self) {
        self.delivery.writer().begin();
        self.reading.writer().head_complete();
    }

    /// Notes that the response is complete.
    pub(in crate::http) fn answered(&self) {
        self.answers.store(self.answers() + 1, Ordering::Relaxed);
        self.reading.writer().answered();
    }

    /// Notes that the connection has left HTTP. It has no deadlines any more.
    pub(in crate::http) fn switched(&self) {
        self.reading.writer().switched();
    }

    /// Returns how many responses are complete.
    pub(in crate::http) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Reports whether a response is not complete yet. Always `true` on an HTTP/2 connection.
    pub(in crate::http) fn is_answering(&self) -> bool {
        matches!(self.reading.phase(), ReadPhase::Answer | ReadPhase::Streams)
    }

    /// Reports whether the peer may be in the middle of a request.
    pub(in crate::http) fn is_mid_request(&self) -> bool {
        self.body.is_owed() || self.is_mid_head()
    }

    /// Reports whether a head has begun and is not complete.
    pub(in crate::http) fn is_mid_head(&self) -> bool {
        self.reading.phase() == ReadPhase::HeadRest
    }

    /// Reports whether no byte of a request has come since the last response.
    pub(in crate::http) fn is_idle(&self) -> bool {
        self.reading.phase() == ReadPhase::HeadStart
    }

    /// Returns when the connection became idle, or `None` while a request is in progress.
    pub(in crate::http) fn idle_since(&self) -> Option<Instant> {
        match self.reading.phase() {
            ReadPhase::HeadStart => Some(self.reading.since()),
            ReadPhase::Streams => self.streams.idle_since(),
            ReadPhase::HeadRest | ReadPhase::Answer | ReadPhase::Sending | ReadPhase::Switched => None,
        }
    }

    /// Notes why the daemon gives up the peer. The first reason stays.
    pub(in crate::http) fn gives_up(&self, reason: StopReason) {
        let _first = self.given_up.set(reason);
        if let Some(stop) = self.tunnel.get() {
            stop.raise(reason);
        }
    }

    /// Returns why the daemon has given up the peer of this stream or of its connection.
    pub(in crate::http) fn given_up(&self) -> Option<StopReason> {
        let own = self.given_up.get().copied();
        own.or_else(|| self.connection.as_ref()?.given_up())
    }

    /// Sets what stops the job that the connection belongs to from now on.
    pub(in crate::http) fn tunnels(&self, stop: Stop) {
        let _once = self.tunnel.set(stop);
    }

    /// Notes whether a write waits for the peer.
    pub(in crate::http) fn stalls(&self, is_stalled: bool) {
        self.stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// Reports whether a write of the stream's connection waits for the peer.
    pub(in crate::http) fn is_held_up(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.stalled.load(Ordering::Relaxed))
    }

    /// Notes how many bytes the peer has taken in all. Called while a write waits for it.
    pub(in crate::http) fn takes(&self, bytes: u64) {
        self.delivery.writer().take(bytes, self.streams.count());
    }

    /// Returns why waiting for the peer should end, if it should. Otherwise wakes this task when it should.
    pub(in crate::http) fn is_over(&self, context: &Context<'_>) -> Option<StopReason> {
        self.delivery.is_over(context).then_some(StopReason::OutOfShare)
    }
}

impl OwedBody {
    /// Notes that the body was read to its end.
    pub(in crate::http) fn consumed(&self) {
        self.progress.body.consume(self.number);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.writer().close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_http2_is_idle_since_it_was_connected_until_a_stream_ends() {
        let progress = Progress::new(MemoryAccount::unlimited());
        tokio::time::advance(Duration::from_secs(2)).await;
        progress.reading.writer().connected(Duration::from_secs(9));
        let connected = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        progress.multiplexed();
        assert_eq!(progress.idle_since(), Some(connected));

        let stream = progress.stream();
        assert_eq!(progress.idle_since(), None);
        drop(stream);

        assert_eq!(progress.idle_since(), Some(Instant::now()));
    }

    #[test]
    fn the_rest_of_a_body_begins_no_head() {
        let progress = Progress::new(MemoryAccount::unlimited());
        let body = progress.owe_body(true);

        progress.begun(Duration::from_secs(1));

        assert!(progress.is_idle() && progress.is_mid_request());
        body.consumed();
        progress.begun(Duration::from_secs(1));
        assert!(!progress.is_idle() && progress.is_mid_request());
    }

    #[test]
    fn a_stream_is_given_up_with_its_connection_and_the_first_reason_stays() {
        let connection = Progress::new(MemoryAccount::unlimited());
        let stream = Progress::of_stream(&connection);
        assert_eq!(stream.given_up(), None);

        connection.gives_up(StopReason::TooSlow);
        connection.gives_up(StopReason::TakesNothing);

        assert_eq!(
            (connection.given_up(), stream.given_up()),
            (Some(StopReason::TooSlow), Some(StopReason::TooSlow))
        );
    }
}
