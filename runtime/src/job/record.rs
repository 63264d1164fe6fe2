//! How a handler's requests have ended so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the requests of one version of a handler.
#[derive(Debug, Default)]
pub struct Record {
    ended: AtomicU64,
    failed: AtomicU64,
}

impl Record {
    /// Counts a request that got its answer.
    pub fn succeed(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request whose answer was a failure of the server's, or broke off.
    pub fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many requests have ended.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Returns how many of them have failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}
