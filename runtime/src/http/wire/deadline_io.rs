//! A stream that fails when its peer misses a deadline.
//!
//! hyper's own header timeout starts anew for nobody, and it has none for the first byte, an idle
//! connection or a peer that does not read. Here one timer watches all of them: it is armed when a
//! read or write has to wait, and set again only when it fires too early, so that a request which
//! never waits never touches it.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::lazy_timer::LazyTimer;
use super::progress::{Deadlines, Progress};
use super::stall::Stall;
use crate::http::timeouts::{CLIENT_GONE_CHECK, LINGERING_CLOSE, LINGERING_CLOSE_DRAIN, UPTAKE_REPORT};
use crate::job::StopReason;

/// A stream under [`Deadlines`].
pub(in crate::http) struct DeadlineIo<S> {
    stream: S,
    progress: Progress,
    deadlines: Deadlines,
    reading: LazyTimer,
    writing: Stall,
    flushing: Stall,
    /// When to tell again what the peer has taken, while a write waits for it.
    taking: LazyTimer,
    /// Bytes that the stream has taken.
    written: u64,
    /// Whether nothing is read for now, whatever may come.
    is_barred: bool,
    /// Tells whether the peer has gone, without reading what it sent before.
    has_left: fn(&S) -> bool,
    /// Tells how many bytes of those the stream has taken the peer has not.
    unsent: fn(&S) -> u64,
    /// Has the stream reset instead of ended when it is closed.
    reset: fn(&S),
    /// When to look for that again; none: whoever reads will see it.
    looking: Option<Pin<Box<Sleep>>>,
    /// Set once our end is shut and the peer's is not.
    lingering: Option<Pin<Box<Sleep>>>,
    /// Bytes that were read since then.
    dropped: usize,
}

/// How many bytes it may send meanwhile.
const LINGER_BYTES: usize = 256 << 20;

impl<S> DeadlineIo<S> {
    /// Watches a stream from here on.
    pub(in crate::http) fn new(
        stream: S,
        progress: Progress,
        deadlines: Deadlines,
        has_left: fn(&S) -> bool,
    ) -> DeadlineIo<S> {
        progress.connected(deadlines.first_byte);
        DeadlineIo {
            stream,
            progress,
            deadlines,
            reading: LazyTimer::default(),
            writing: Stall::new(deadlines.write_idle, deadlines.rate),
            flushing: Stall::new(deadlines.write_idle, deadlines.rate),
            taking: LazyTimer::default(),
            written: 0,
            is_barred: false,
            has_left,
            unsent: |_| 0,
            reset: |_| {},
            looking: None,
            lingering: None,
            dropped: 0,
        }
    }

    /// Has a stream whose end would not be true reset by this when it is closed.
    pub(in crate::http) fn resetting(mut self, reset: fn(&S)) -> DeadlineIo<S> {
        self.reset = reset;
        self
    }

    /// Has the peer measured by what it took, and not by what the stream took, which has room for much of it.
    pub(in crate::http) fn measuring(mut self, unsent: fn(&S) -> u64) -> DeadlineIo<S> {
        self.unsent = unsent;
        self
    }

    /// Says where the connection stands.
    pub(in crate::http) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Notes whether nothing is read for now.
    pub(in crate::http) fn bar(&mut self, is_barred: bool) {
        self.is_barred = is_barred;
    }

    /// How long a head may take.
    pub(in crate::http) fn head_deadline(&self) -> Duration {
        self.deadlines.head
    }

    /// Waits for the peer without reading, for as long as it may keep us waiting.
    pub(in crate::http) fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(due) = self.progress.due() else { return Poll::Pending };
        self.reading.poll(due, context).map(|()| timed_out("the peer sent nothing in time"))
    }

    /// Finds out whether the peer has left while nobody reads what it sent.
    fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !(self.progress.is_answering() && (self.is_barred || self.progress.has_unread_body())) {
            self.looking = None;
            return Poll::Pending;
        }
        let look = self.looking.get_or_insert_with(|| Box::pin(sleep(CLIENT_GONE_CHECK)));
        while look.as_mut().poll(context).is_ready() {
            if (self.has_left)(&self.stream) {
                return Poll::Ready(());
            }
            look.as_mut().reset(Instant::now() + CLIENT_GONE_CHECK);
        }
        Poll::Pending
    }

    /// Lets a pending write wait for as long as the peer may keep us waiting.
    fn patience(
        &mut self,
        outcome: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = outcome {
            self.written += outcome.as_ref().map_or(0, |written| *written as u64);
            // The next wait starts anew.
            self.writing.over();
            self.flushing.over();
            self.progress.stalls(false);
            return Poll::Ready(outcome);
        }
        self.progress.stalls(true);
        self.tell_taken(context);
        let DeadlineIo { stream, unsent, written, .. } = self;
        let given_up = match self.progress.is_over(context) {
            Some(reason) => reason,
            None => ready!(self.writing.poll(context, || written.saturating_sub(unsent(stream)))),
        };
        Poll::Ready(Err(self.give_up(given_up)))
    }

    /// The same for what was written and is held back: TLS takes a write before the peer has room for it.
    fn flush_patience(
        &mut self,
        outcome: Poll<io::Result<()>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if outcome.is_ready() {
            // Says nothing about a write that waits: in clear there is nothing to flush.
            self.flushing.over();
            return outcome;
        }
        self.tell_taken(context);
        let DeadlineIo { stream, unsent, written, .. } = self;
        let given_up = match self.progress.is_over(context) {
            Some(reason) => reason,
            None => ready!(self.flushing.poll(context, || written.saturating_sub(unsent(stream)))),
        };
        Poll::Ready(Err(self.give_up(given_up)))
    }

    /// Tells what the peer has taken, now and as long as something waits for it: the stream says that it has room
    /// only when a good part of its buffer is free.
    fn tell_taken(&mut self, context: &mut Context<'_>) {
        self.progress.takes(self.written.saturating_sub((self.unsent)(&self.stream)));
        // Armed anew whenever it rings.
        let _pending = self.taking.poll(Instant::now() + UPTAKE_REPORT, context);
    }

    /// Notes why the peer is given up.
    fn give_up(&self, reason: StopReason) -> io::Error {
        self.progress.gives_up(reason);
        timed_out("the peer does not read in time")
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> DeadlineIo<S> {
    /// Reads and drops what the peer still sends, until it is done or has had its time. A close with
    /// bytes unread is a reset, which takes from the peer the answer it has not read (RFC 9112 §9.6).
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let latest = Instant::now() + LINGERING_CLOSE_DRAIN;
        if self.progress.is_leaving()
            && let Some(time) = self.lingering.as_mut().filter(|time| time.deadline() > latest)
        {
            time.as_mut().reset(latest);
        }
        if self.lingering.as_mut().is_none_or(|time| time.as_mut().poll(context).is_ready()) {
            return Poll::Ready(());
        }
        let mut bytes = [0; 4 << 10];
        while self.dropped < LINGER_BYTES {
            let mut dropped = ReadBuf::new(&mut bytes);
            let outcome = ready!(Pin::new(&mut self.stream).poll_read(context, &mut dropped));
            if outcome.is_err() || dropped.filled().is_empty() {
                break;
            }
            self.dropped += dropped.filled().len();
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for DeadlineIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
        if outcome.is_ready() {
            if buffer.filled().len() > before {
                this.progress.begun(this.deadlines.head);
            }
            return outcome;
        }
        this.poll_wait(context).map(Err)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for DeadlineIo<S> {
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
        let outcome = Pin::new(&mut this.stream).poll_flush(context);
        if let Poll::Ready(Ok(())) = outcome {
            this.progress.flushed(this.deadlines.keep_alive);
        }
        // hyper does not read again behind a response: the read that waits for the next request has
        // waited since before, and for something that was due later, or never.
        if let Some(due) = this.progress.due()
            && this.reading.is_later_than(due)
            && this.reading.poll(due, context).is_ready()
        {
            context.waker().wake_by_ref();
        }
        if this.poll_left(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        this.flush_patience(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.progress.close_delimited().may_close() {
            // Dropped next, which resets it.
            return Poll::Ready(Ok(()));
        }
        if self.lingering.is_none() {
            let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
            let outcome = ready!(self.flush_patience(outcome, context));
            if outcome.is_ok() {
                self.progress.close_delimited().closed();
            }
            if outcome.is_err() || !self.progress.is_mid_request() {
                return Poll::Ready(outcome);
            }
            let linger = if self.progress.is_leaving() { LINGERING_CLOSE_DRAIN } else { LINGERING_CLOSE };
            self.lingering = Some(Box::pin(sleep(linger)));
        }
        self.poll_linger(context).map(Ok)
    }
}

/// However a connection comes to its end - a failure behind the head of an answer, a deadline, a
/// shutdown, a panic - it is not told as one that was meant.
impl<S> Drop for DeadlineIo<S> {
    fn drop(&mut self) {
        if !self.progress.close_delimited().may_fin() {
            (self.reset)(&self.stream);
        }
    }
}

#[cfg(test)]
mod tests;
