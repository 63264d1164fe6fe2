//! A stream that ends itself when its peer keeps it waiting.
//!
//! hyper's own header timeout starts anew for nobody, and it has none for the first byte, an idle
//! connection or a peer that does not read. Here one timer watches all of them: it is armed when a
//! read or write has to wait, and set again only when it fires too early, so that a request which
//! never waits never touches it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// How long a peer may keep a connection waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From the connection to its first byte.
    pub first_byte: Duration,
    /// From a head's first byte to its last.
    pub head: Duration,
    /// From the end of a response to the first byte of the next request.
    pub keep_alive: Duration,
    /// From one byte written to the next while the peer has room for none.
    pub write_idle: Duration,
}

/// A stream under [`Deadlines`].
pub(super) struct Watched<S> {
    stream: S,
    progress: Progress,
    deadlines: Deadlines,
    reading: Alarm,
    writing: Alarm,
    /// Set once our end is shut and the peer's is not.
    lingering: Option<Pin<Box<Sleep>>>,
}

/// How long a peer that still sends may take to see our end shut. nginx gives 5 s.
const LINGER: Duration = Duration::from_secs(2);

/// Where a connection stands, shared by its stream and the service that answers its requests.
#[derive(Clone)]
pub(super) struct Progress(Arc<Shared>);

struct Shared {
    start: Instant,
    /// Milliseconds from `start` at which the peer must have sent something; `NEVER`: whenever it likes.
    due: AtomicU64,
    /// What the connection is waiting for.
    waiting: AtomicU64,
    /// Whether the peer has not sent all of the request's body yet, or we have not read it.
    owed: AtomicBool,
    /// Whether the next response is the last.
    leaving: AtomicBool,
}

const NEVER: u64 = u64::MAX;

/// Values of `Shared::waiting`.
mod waiting_for {
    pub(super) const HEAD_START: u64 = 0;
    pub(super) const HEAD_REST: u64 = 1;
    pub(super) const ANSWER: u64 = 2;
}

impl Progress {
    fn new(first_byte: Duration) -> Progress {
        let shared = Shared {
            start: Instant::now(),
            due: AtomicU64::new(millis(first_byte)),
            waiting: AtomicU64::new(waiting_for::HEAD_START),
            owed: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
        };
        Progress(Arc::new(shared))
    }

    fn expect(&self, waiting: u64, within: Option<Duration>) {
        let due = within.map_or(NEVER, |within| millis(self.0.start.elapsed() + within));
        self.0.due.store(due, Ordering::Relaxed);
        self.0.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Notes that a request's head is complete. The whole exchange must end within `limit`, whoever
    /// makes it last: a reader that takes a byte now and then must not hold a sandbox for ever.
    pub(super) fn answering(&self, limit: Option<Duration>) {
        self.expect(waiting_for::ANSWER, limit);
    }

    /// Notes that the response is complete and the next request may come.
    pub(super) fn answered(&self, keep_alive: Duration) {
        self.expect(waiting_for::HEAD_START, Some(keep_alive));
    }

    /// Notes whether there is more of a request's body to come.
    pub(super) fn owes(&self, body: bool) {
        self.0.owed.store(body, Ordering::Relaxed);
    }

    /// Reports whether the peer may be in the middle of a request.
    fn is_mid_request(&self) -> bool {
        self.0.owed.load(Ordering::Relaxed)
            || self.0.waiting.load(Ordering::Relaxed) == waiting_for::HEAD_REST
    }

    /// Notes that the next response is the last one.
    pub(super) fn leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
    }

    /// Says whether the next response is the last one.
    pub(super) fn is_leaving(&self) -> bool {
        self.0.leaving.load(Ordering::Relaxed)
    }

    /// Says whether no byte of a request has come since the last response.
    pub(super) fn is_idle(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) == waiting_for::HEAD_START
    }

    fn due(&self) -> Option<Instant> {
        match self.0.due.load(Ordering::Relaxed) {
            NEVER => None,
            due => Some(self.0.start + Duration::from_millis(due)),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
}

/// A timer that is armed when somebody has to wait.
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Returns ready when `due` has passed. Arms the timer otherwise.
    fn poll(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        // One that is set for earlier is left alone: it is set again if it fires.
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }

    /// Reports whether it would not ring at `due`.
    fn is_later_than(&self, due: Instant) -> bool {
        self.0.as_ref().is_none_or(|sleep| sleep.deadline() > due)
    }
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, deadlines: Deadlines) -> (Watched<S>, Progress) {
        let progress = Progress::new(deadlines.first_byte);
        let watched = Watched {
            stream,
            progress: progress.clone(),
            deadlines,
            reading: Alarm(None),
            writing: Alarm(None),
            lingering: None,
        };
        (watched, progress)
    }

    /// Lets a pending write wait for as long as the peer may keep us waiting.
    fn patience<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            // Progress: the next wait starts anew.
            self.writing = Alarm(None);
            return outcome;
        }
        let due = match &self.writing.0 {
            Some(armed) => armed.deadline(),
            None => Instant::now() + self.deadlines.write_idle,
        };
        match self.writing.poll(self.progress.due().map_or(due, |whole| whole.min(due)), context) {
            Poll::Ready(()) => Poll::Ready(Err(timed_out("the peer does not read in time"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads and drops what the peer still sends, until it is done or has had its time. A close with
    /// bytes unread is a reset, which takes from the peer the answer it has not read (RFC 9112 §9.6).
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.lingering.as_mut().is_none_or(|time| time.as_mut().poll(context).is_ready()) {
            return Poll::Ready(());
        }
        let mut bytes = [0; 4 << 10];
        loop {
            let mut dropped = ReadBuf::new(&mut bytes);
            let outcome = ready!(Pin::new(&mut self.stream).poll_read(context, &mut dropped));
            if outcome.is_err() || dropped.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
        if outcome.is_ready() {
            let waiting = this.progress.0.waiting.load(Ordering::Relaxed);
            if buffer.filled().len() > before && waiting == waiting_for::HEAD_START {
                this.progress.expect(waiting_for::HEAD_REST, Some(this.deadlines.head));
            }
            return outcome;
        }
        let Some(due) = this.progress.due() else { return Poll::Pending };
        match this.reading.poll(due, context) {
            Poll::Ready(()) => Poll::Ready(Err(timed_out("the peer sent nothing in time"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patience(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.patience(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // hyper does not read again behind a response: the read that waits for the next request has
        // waited since before, and for something that was due later, or never.
        if let Some(due) = this.progress.due()
            && this.reading.is_later_than(due)
            && this.reading.poll(due, context).is_ready()
        {
            context.waker().wake_by_ref();
        }
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let outcome = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
            if outcome.is_err() || !self.progress.is_mid_request() {
                return Poll::Ready(outcome);
            }
            self.lingering = Some(Box::pin(sleep(LINGER)));
        }
        self.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const DEADLINES: Deadlines = Deadlines {
        first_byte: Duration::from_secs(5),
        head: Duration::from_secs(10),
        keep_alive: Duration::from_secs(60),
        write_idle: Duration::from_secs(30),
    };

    fn seconds(start: Instant) -> u64 {
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_the_first_byte_deadline() {
        let (_peer, stream) = duplex(64);
        let (mut watched, _progress) = Watched::new(stream, DEADLINES);
        let start = Instant::now();

        let outcome = watched.read_u8().await;

        assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(seconds(start), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_given_its_deadline_in_all_and_not_per_byte() {
        let (mut peer, stream) = duplex(64);
        let (mut watched, _progress) = Watched::new(stream, DEADLINES);
        let start = Instant::now();
        let drip = async {
            for _ in 0..20 {
                let _sent = peer.write_all(b"x").await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let read = async { while watched.read_u8().await.is_ok() {} };

        tokio::select! { () = drip => {}, () = read => {} }

        assert_eq!(seconds(start), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_wait_after_a_longer_one_is_kept() {
        let (mut peer, stream) = duplex(64);
        let (mut watched, progress) = Watched::new(stream, DEADLINES);
        progress.answered(DEADLINES.keep_alive);
        let start = Instant::now();
        let sent = async {
            tokio::time::sleep(Duration::from_secs(59)).await;
            peer.write_all(b"x").await
        };
        let (first, _sent) = tokio::join!(watched.read_u8(), sent);

        let second = watched.read_u8().await;

        assert_eq!(first.ok(), Some(b'x'));
        assert!(second.is_err());
        assert_eq!(seconds(start), 69);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_the_write_deadline() {
        let (_peer, stream) = duplex(4);
        let (mut watched, progress) = Watched::new(stream, DEADLINES);
        progress.answering(None);
        let start = Instant::now();

        let outcome = watched.write_all(b"12345").await;

        assert_eq!(outcome.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(seconds(start), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_is_bounded_whoever_makes_it_last() {
        let (_peer, stream) = duplex(4);
        let (mut watched, progress) = Watched::new(stream, DEADLINES);
        progress.answering(Some(Duration::from_secs(7)));
        let start = Instant::now();

        assert!(watched.read_u8().await.is_err());

        assert_eq!(seconds(start), 7);
    }
}
