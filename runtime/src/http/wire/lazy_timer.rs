//! A timer that costs nothing until something has to wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is armed at its first poll.
#[derive(Default)]
pub(in crate::http) struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Returns ready when `due` has passed. Arms the timer otherwise.
    pub(in crate::http) fn poll(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        // An earlier deadline is left alone: the timer is set again when it fires.
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

    /// Reports whether the timer would fire after `due`, or is not armed.
    pub(in crate::http) fn is_later_than(&self, due: Instant) -> bool {
        self.0.as_ref().is_none_or(|sleep| sleep.deadline() > due)
    }
}
