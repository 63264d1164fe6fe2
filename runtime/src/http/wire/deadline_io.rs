//! A stream that fails when its peer misses a deadline.
//!
//! hyper's own header timeout is not enough: it does not cover the first byte, an idle connection, or a peer
//! that does not read. Here lazy timers enforce the deadlines. A timer is armed when a read or write has to
//! wait, and set again only when it fires too early. A request that never waits never touches one.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::lazy_timer::LazyTimer;
use super::lingering_close::LingeringClose;
use super::progress::{Deadlines, Progress};
use super::write_stall::WriteStall;
use crate::http::timeouts::CLIENT_GONE_CHECK;

/// A stream under [`Deadlines`].
pub(in crate::http) struct DeadlineIo<S> {
    stream: S,
    progress: Progress,
    deadlines: Deadlines,
    reading: LazyTimer,
    writing: WriteStall,
    closing: LingeringClose,
    /// Whether reading is suspended, whatever may come.
    is_blocked: bool,
    /// Whether the peer has missed the deadline of a read.
    is_late: bool,
    /// Reports whether the peer has gone, without reading what it sent before.
    has_left: fn(&S) -> bool,
    /// Returns how many of the accepted bytes the peer has not taken.
    unsent: fn(&S) -> u64,
    /// Makes the stream reset, rather than end, when it is closed.
    reset: fn(&S),
    /// When to call `has_left` again, or `None` while a read would notice.
    looking: Option<Pin<Box<Sleep>>>,
}

impl<S> DeadlineIo<S> {
    /// Watches a stream from here on.
    pub(in crate::http) fn new(
        stream: S,
        progress: Progress,
        deadlines: Deadlines,
        has_left: fn(&S) -> bool,
    ) -> DeadlineIo<S> {
        progress.reading.writer().connected(deadlines.first_byte);
        DeadlineIo {
            stream,
            progress,
            deadlines,
            reading: LazyTimer::default(),
            writing: WriteStall::new(&deadlines),
            closing: LingeringClose::default(),
            is_blocked: false,
            is_late: false,
            has_left,
            unsent: |_| 0,
            reset: |_| {},
            looking: None,
        }
    }

    /// Sets how the stream is reset when it is closed and a normal end would be untrue.
    pub(in crate::http) fn resetting(mut self, reset: fn(&S)) -> DeadlineIo<S> {
        self.reset = reset;
        self
    }

    /// Measures the peer by what it took. Without this, the bytes in the stream's large buffer count as taken.
    pub(in crate::http) fn measuring(mut self, unsent: fn(&S) -> u64) -> DeadlineIo<S> {
        self.unsent = unsent;
        self
    }

    /// Returns the state of the connection.
    pub(in crate::http) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Suspends or resumes reading.
    pub(in crate::http) fn block(&mut self, is_blocked: bool) {
        self.is_blocked = is_blocked;
    }

    /// Returns how long a head may take.
    pub(in crate::http) fn head_deadline(&self) -> Duration {
        self.deadlines.head
    }

    /// Waits, without reading, until the deadline of the peer has passed.
    pub(in crate::http) fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(due) = self.progress.reading.due() else { return Poll::Pending };
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "the peer sent nothing in time");
        let late = self.reading.poll(due, context);
        self.is_late |= late.is_ready();
        late.map(|()| silent())
    }

    /// Checks whether the peer has left while nothing reads what it sent.
    fn poll_left(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !(self.progress.is_answering() && (self.is_blocked || self.progress.body.is_owed())) {
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

    /// Bounds the wait of a pending write.
    fn written(
        &mut self,
        outcome: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let DeadlineIo { stream, progress, writing, unsent, .. } = self;
        writing.write(outcome, progress, || unsent(stream), context)
    }

    /// Bounds the wait of a pending flush.
    fn flushed(&mut self, outcome: Poll<io::Result<()>>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let DeadlineIo { stream, progress, writing, unsent, .. } = self;
        writing.flush(outcome, progress, || unsent(stream), context)
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
        self.written(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let outcome = Pin::new(&mut this.stream).poll_flush(context);
        if let Poll::Ready(Ok(())) = outcome {
            this.progress.reading.writer().flushed(this.deadlines.keep_alive);
        }
        // hyper does not read again after a response. The read that waits for the next request was armed
        // earlier, for a later deadline or for none.
        if let Some(due) = this.progress.reading.due()
            && this.reading.is_later_than(due)
            && this.reading.poll(due, context).is_ready()
        {
            context.waker().wake_by_ref();
        }
        if this.poll_left(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        this.flushed(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.progress.close_delimited.may_close() {
            // The stream is dropped next, which resets it.
            return Poll::Ready(Ok(()));
        }
        if !self.closing.has_begun() {
            let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
            let outcome = ready!(self.flushed(outcome, context));
            if outcome.is_ok() {
                self.progress.close_delimited.writer().closed();
            }
            // A peer that was too slow with its head is given no more time.
            let is_late = self.is_late && self.progress.is_mid_head();
            if outcome.is_err() || is_late || !self.progress.is_mid_request() {
                return Poll::Ready(outcome);
            }
            let DeadlineIo { closing, progress, .. } = &mut *self;
            closing.begin(progress);
        }
        let DeadlineIo { closing, stream, progress, .. } = &mut *self;
        closing.poll(stream, progress, context).map(Ok)
    }
}

/// A response that ends with the connection may be cut short: by an error, a deadline, a shutdown or a panic.
/// The connection is then reset, because a normal close would mark the response as complete.
impl<S> Drop for DeadlineIo<S> {
    fn drop(&mut self) {
        if !self.progress.close_delimited.may_fin() {
            (self.reset)(&self.stream);
        }
    }
}

#[cfg(test)]
mod tests;
