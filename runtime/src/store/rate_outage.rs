//! Whether a store counts the requests of rate limits, or rests after a failure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time after a failure in which the store is not asked: a request a second finds out whether it is back.
const OUTAGE_REST: Duration = Duration::from_secs(1);

/// Whether a store counts the requests of limits.
#[derive(Default)]
pub(super) struct RateOutage {
    /// When the store is asked again. `None` while it counts.
    rests_until: Mutex<Option<Instant>>,
    /// Requests that the store has not counted.
    uncounted: AtomicU64,
}

impl RateOutage {
    /// Whether to ask the store. After a failure, one request a second asks.
    pub(super) fn is_to_ask(&self) -> bool {
        let mut rests_until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        match *rests_until {
            None => true,
            Some(until) if Instant::now() >= until => {
                *rests_until = Some(Instant::now() + OUTAGE_REST);
                true
            }
            Some(_) => {
                self.uncounted.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Notes a failure. Returns whether the store counted until then.
    pub(super) fn began(&self) -> bool {
        self.uncounted.fetch_add(1, Ordering::Relaxed);
        let mut rests_until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        rests_until.replace(Instant::now() + OUTAGE_REST).is_none()
    }

    /// Notes a success. Returns whether the store failed until then.
    pub(super) fn ended(&self) -> bool {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Counts the requests that the store has not counted.
    pub(super) fn uncounted(&self) -> u64 {
        self.uncounted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_is_asked_once_a_second() {
        let outage = RateOutage::default();
        assert!(outage.is_to_ask() && outage.is_to_ask());

        assert!(outage.began());

        assert!(!outage.is_to_ask() && !outage.began());
        tokio::time::advance(OUTAGE_REST).await;
        assert!(outage.is_to_ask() && !outage.is_to_ask());
        assert!(outage.ended() && !outage.ended());
        assert!(outage.is_to_ask());
        assert_eq!(outage.uncounted(), 4);
    }
}
