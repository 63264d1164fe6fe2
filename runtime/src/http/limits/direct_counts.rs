//! Counts requests that routes without a handler have answered.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts requests that routes without a handler have answered, by the kind of the answer.
#[derive(Debug, Default)]
pub struct DirectCounts {
    /// Redirects.
    pub(in crate::http) redirects: RequestCount,
    /// Fixed responses.
    pub(in crate::http) fixed: RequestCount,
    /// Files.
    pub(in crate::http) files: RequestCount,
}

/// A number of requests.
#[derive(Debug, Default)]
pub(in crate::http) struct RequestCount(AtomicU64);

impl RequestCount {
    /// Counts one request.
    pub(in crate::http) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl DirectCounts {
    /// Returns the counts by the word for the kind.
    pub(in crate::http) fn counts(&self) -> [(&'static str, u64); 3] {
        [("redirect", self.redirects.get()), ("respond", self.fixed.get()), ("static", self.files.get())]
    }
}
