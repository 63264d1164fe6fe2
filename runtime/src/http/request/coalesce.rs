//! Pieces of an answer that are small and many, joined before they are handed on.
//!
//! Each piece that hyper and h2 hold costs them some 200 bytes and a frame, beside the bytes in it, for which
//! alone they have a bound. A stream of few small pieces, such as events, is handed on as it comes.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::http::wire::lazy_timer::LazyTimer;

/// A smaller piece is a crumb.
const CRUMB: usize = 512;

/// So many crumbs may follow one another before those behind them are joined.
const MOST: u32 = 256;

/// What they are joined to, if it is here soon.
const JOINED: usize = 4 << 10;

/// How long a crumb is held back for others.
const SOON: Duration = Duration::from_millis(5);

/// A pause that a flood of crumbs does not have.
const PAUSE: Duration = Duration::from_millis(50);

/// Counts the crumbs of an answer.
#[derive(Default)]
pub(in crate::http) struct Coalescer {
    count: u32,
    last: Option<Instant>,
    alarm: LazyTimer,
}

impl Coalescer {
    /// Waits until what is here is to be handed on.
    pub(in crate::http) fn poll(&mut self, here: usize, context: &mut Context<'_>) -> Poll<()> {
        match self.last {
            Some(last) if self.count >= MOST && here < JOINED => self.alarm.poll(last + SOON, context),
            _ => Poll::Ready(()),
        }
    }

    /// Notes that a piece is handed on.
    pub(in crate::http) fn took(&mut self, length: usize) {
        let now = Instant::now();
        let goes_on = length < CRUMB && self.last.is_none_or(|last| now - last < PAUSE);
        self.count = if goes_on { self.count.saturating_add(1) } else { 0 };
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn crumbs_without_end_are_joined_and_events_are_not() {
        for (pause, joined) in [(Duration::ZERO, true), (PAUSE, false)] {
            let mut context = Context::from_waker(Waker::noop());
            let mut crumbs = Coalescer::default();
            for _ in 0..MOST + 2 {
                advance(pause).await;
                crumbs.took(1);
            }

            assert_eq!(crumbs.poll(1, &mut context).is_pending(), joined, "{pause:?}");
            assert!(crumbs.poll(JOINED, &mut context).is_ready());
            advance(SOON + Duration::from_millis(1)).await;
            assert!(crumbs.poll(1, &mut context).is_ready());
        }
    }
}
