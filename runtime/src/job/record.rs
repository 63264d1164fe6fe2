//! How a handler's requests have ended so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts the requests of one version of a handler.
#[derive(Debug, Default)]
pub struct Record {
    ended: AtomicU64,
    failed: AtomicU64,
    /// Microseconds over all requests that have ended.
    time: AtomicU64,
}

impl Record {
    /// Counts a request that got its answer, and the time from its head to the answer's last byte.
    pub fn succeed(&self, time: Duration) {
        self.time.fetch_add(u64::try_from(time.as_micros()).unwrap_or_default(), Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request whose answer was a failure of the server's, or broke off.
    pub fn fail(&self, time: Duration) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.succeed(time);
    }

    /// Returns how many requests have ended.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Returns how many of them have failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Returns how long all of them took together.
    pub fn time(&self) -> Duration {
        Duration::from_micros(self.time.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_an_end_too() {
        let record = Record::default();
        record.succeed(Duration::from_millis(2));
        record.fail(Duration::from_millis(3));
        assert_eq!((record.ended(), record.failed()), (2, 1));
        assert_eq!(record.time(), Duration::from_millis(5));
    }
}
