//! The streams of an HTTP/2 connection: how many are open, and what is still to be sent.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::read_deadline::millis;

/// The activity of an HTTP/2 connection.
pub(in crate::http) struct StreamActivity {
    start: Instant,
    /// Streams in progress.
    open: AtomicUsize,
    /// Milliseconds from `start` at which the last stream ended.
    ended: AtomicU64,
    /// Milliseconds from `start` at which part of a response was last written. Separate from `ended`, because the
    /// stream may have ended by then.
    written: AtomicU64,
    /// Whether bytes wait to be written, or a response has begun and not ended.
    holding: AtomicBool,
}

/// The side that reports streams and writes.
pub(super) struct StreamActivityWriter<'m>(&'m StreamActivity);

impl StreamActivity {
    pub(in crate::http) fn new(start: Instant) -> StreamActivity {
        StreamActivity {
            start,
            open: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            written: AtomicU64::new(0),
            holding: AtomicBool::new(false),
        }
    }

    /// Returns the side that reports streams and writes.
    pub(super) fn writer(&self) -> StreamActivityWriter<'_> {
        StreamActivityWriter(self)
    }

    /// Returns how many streams are in progress.
    pub(super) fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns since when no stream is in progress, or `None` if there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.open.load(Ordering::Acquire) == 0;
        is_idle.then(|| self.start + Duration::from_millis(self.ended.load(Ordering::Relaxed)))
    }

    /// Reports whether bytes may still have to be sent, although no stream is in progress.
    pub(in crate::http) fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Relaxed)
    }

    /// Returns the time since a stream last ended or part of a response was last written.
    pub(in crate::http) fn quiet(&self) -> Duration {
        self.over().min(self.passed(&self.written))
    }

    /// Returns the time since a stream last ended, whatever was written.
    pub(in crate::http) fn over(&self) -> Duration {
        self.passed(&self.ended)
    }

    fn passed(&self, moment: &AtomicU64) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(moment.load(Ordering::Relaxed)))
    }
}

impl StreamActivityWriter<'_> {
    /// Begins without streams. Until the first one, the connection counts as idle since then.
    pub(super) fn begin(&self, since: Instant) {
        self.0.ended.store(millis(since - self.0.start), Ordering::Relaxed);
    }

    /// Counts a stream as in progress.
    pub(super) fn open(&self) {
        self.0.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a stream has ended.
    pub(super) fn close(&self) {
        self.0.ended.store(millis(self.0.start.elapsed()), Ordering::Relaxed);
        // Pairs with `idle_since`, which must see the time above.
        self.0.open.fetch_sub(1, Ordering::Release);
    }

    /// Notes whether bytes wait to be written, or a response has begun and not ended. h2 keeps what its client has
    /// no window for, so a stream that has ended may still have bytes to send.
    pub(super) fn holds(&self, is_holding: bool) {
        self.0.holding.store(is_holding, Ordering::Relaxed);
    }

    /// Notes that part of a response was written.
    pub(super) fn wrote(&self) {
        self.0.written.store(millis(self.0.start.elapsed()), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn streams_and_writes_count_each_on_their_own() {
        type Event = fn(&StreamActivity);
        let open: Event = |streams| streams.writer().open();
        let close: Event = |streams| streams.writer().close();
        let wrote: Event = |streams| streams.writer().wrote();
        // One event a second. Behind the last one: whether the connection is idle, for how many seconds no stream
        // has ended, and for how many nothing was written either.
        for (events, is_idle, over, quiet) in [
            (&[][..], true, 0, 0),
            (&[open], false, 1, 1),
            (&[open, close], true, 0, 0),
            (&[open, open, close], false, 0, 0),
            // What is written does not make a connection less idle.
            (&[open, close, wrote], true, 1, 0),
            (&[open, close, wrote, open], false, 2, 1),
        ] {
            let streams = StreamActivity::new(Instant::now());
            for event in events {
                tokio::time::advance(Duration::from_secs(1)).await;
                event(&streams);
            }

            let ago = streams.idle_since().map(|since| since.elapsed());
            assert_eq!(ago, is_idle.then(|| Duration::from_secs(over)), "{}", events.len());
            let passed = [streams.over(), streams.quiet()];
            assert_eq!(passed, [over, quiet].map(Duration::from_secs), "{}", events.len());
        }
    }
}
