//! The writer's side of the deadlines of a connection: how long writes and flushes wait for the peer.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::lazy_timer::LazyTimer;
use super::progress::{Deadlines, Progress};
use super::stall::Stall;
use crate::http::timeouts::UPTAKE_REPORT;

/// Bounds the waits of writes and of flushes, each by itself.
pub(super) struct WriteStall {
    writing: Stall,
    flushing: Stall,
    /// When to report again what the peer has taken, while a write waits for it.
    reporting: LazyTimer,
    /// Bytes that the stream has accepted.
    written: u64,
}

impl WriteStall {
    pub(super) fn new(deadlines: &Deadlines) -> WriteStall {
        let stall = || Stall::new(deadlines.write_idle, deadlines.rate);
        WriteStall { writing: stall(), flushing: stall(), reporting: LazyTimer::default(), written: 0 }
    }

    /// Bounds the wait of a pending write. `unsent` returns how many of the accepted bytes the peer has not taken.
    pub(super) fn write(
        &mut self,
        outcome: Poll<io::Result<usize>>,
        progress: &Progress,
        unsent: impl Fn() -> u64,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = outcome {
            self.written += outcome.as_ref().map_or(0, |written| *written as u64);
            // The write made progress, so the next wait starts anew.
            self.writing.over();
            self.flushing.over();
            progress.stalls(false);
            return Poll::Ready(outcome);
        }
        progress.stalls(true);
        let WriteStall { writing, reporting, written, .. } = self;
        wait(writing, reporting, progress, || written.saturating_sub(unsent()), context).map(Err)
    }

    /// Bounds the wait of a pending flush: TLS accepts a write before the peer has room for it.
    pub(super) fn flush(
        &mut self,
        outcome: Poll<io::Result<()>>,
        progress: &Progress,
        unsent: impl Fn() -> u64,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if outcome.is_ready() {
            // The wait of a write stays as it is: without TLS there is nothing to flush.
            self.flushing.over();
            return outcome;
        }
        let WriteStall { flushing, reporting, written, .. } = self;
        wait(flushing, reporting, progress, || written.saturating_sub(unsent()), context).map(Err)
    }
}

/// Reports what the peer has taken, now and at intervals, and waits until it has to be given up. The stream itself
/// reports room only when a good part of its buffer is free.
#[cold]
fn wait(
    stall: &mut Stall,
    reporting: &mut LazyTimer,
    progress: &Progress,
    taken: impl Fn() -> u64,
    context: &mut Context<'_>,
) -> Poll<io::Error> {
    progress.takes(taken());
    // The alarm is armed again each time it rings.
    let _pending = reporting.poll(Instant::now() + UPTAKE_REPORT, context);
    let given_up = match progress.is_over(context) {
        Some(reason) => reason,
        None => ready!(stall.poll(context, taken)),
    };
    progress.gives_up(given_up);
    Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read in time"))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;
    use crate::http::MinRate;
    use crate::http::wire::client_memory::MemoryAccount;
    use crate::job::StopReason;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_the_peer_takes_nothing_and_an_accepted_write_begins_anew() {
        let seconds = Duration::from_secs;
        let rate = MinRate { bytes: 0, window: seconds(5) };
        let limit = seconds(30);
        let deadlines =
            Deadlines { first_byte: limit, head: limit, keep_alive: limit, write_idle: limit, rate };
        let progress = Progress::new(MemoryAccount::unlimited());
        let mut stall = WriteStall::new(&deadlines);
        let start = Instant::now();
        let mut write = async |accepted: Option<usize>| {
            let outcome = || accepted.map_or(Poll::Pending, |bytes| Poll::Ready(Ok(bytes)));
            poll_fn(|context| Poll::Ready(stall.write(outcome(), &progress, || 5, context)))
                .await
                .is_pending()
        };
        assert!(write(None).await);
        tokio::time::advance(seconds(20)).await;
        assert!(!write(Some(5)).await);
        tokio::time::advance(seconds(20)).await;

        let pending = poll_fn(|context| stall.write(Poll::Pending, &progress, || 5, context));

        assert_eq!(pending.await.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(start.elapsed().as_secs(), 70);
        assert_eq!(progress.given_up(), Some(StopReason::TakesNothing));
    }
}
