//! Joins small pieces of a response when they come in large numbers.
//!
//! hyper and h2 spend some 200 bytes and a frame on each piece they hold, but bound only the bytes in the
//! pieces. A stream of few small pieces, such as events, is passed on as it comes.

use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::http::timeouts::{COALESCE_HOLD, COALESCE_PAUSE};
use crate::http::wire::lazy_timer::LazyTimer;

/// A smaller piece, in bytes, counts as a crumb.
const CRUMB: usize = 512;

/// Crumbs in a row that are passed on as they come. Later ones are joined.
const MOST: u32 = 256;

/// The size that joined pieces reach, if it is there soon enough, in bytes.
const JOINED: usize = 4 << 10;

/// Counts the crumbs of a response.
#[derive(Default)]
pub(in crate::http) struct Coalescer {
    count: u32,
    last: Option<Instant>,
    alarm: LazyTimer,
}

impl Coalescer {
    /// Waits until the bytes that are here are to be passed on.
    pub(in crate::http) fn poll(&mut self, here: usize, context: &mut Context<'_>) -> Poll<()> {
        match self.last {
            Some(last) if self.count >= MOST && here < JOINED => {
                self.alarm.poll(last + COALESCE_HOLD, context)
            }
            _ => Poll::Ready(()),
        }
    }

    /// Notes that a piece was passed on.
    pub(in crate::http) fn took(&mut self, length: usize) {
        let now = Instant::now();
        let goes_on = length < CRUMB && self.last.is_none_or(|last| now - last < COALESCE_PAUSE);
        self.count = if goes_on { self.count.saturating_add(1) } else { 0 };
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use std::time::Duration;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn crumbs_without_end_are_joined_and_events_are_not() {
        for (pause, joined) in [(Duration::ZERO, true), (COALESCE_PAUSE, false)] {
            let mut context = Context::from_waker(Waker::noop());
            let mut crumbs = Coalescer::default();
            for _ in 0..MOST + 2 {
                advance(pause).await;
                crumbs.took(1);
            }

            assert_eq!(crumbs.poll(1, &mut context).is_pending(), joined, "{pause:?}");
            assert!(crumbs.poll(JOINED, &mut context).is_ready());
            advance(COALESCE_HOLD + Duration::from_millis(1)).await;
            assert!(crumbs.poll(1, &mut context).is_ready());
        }
    }
}
