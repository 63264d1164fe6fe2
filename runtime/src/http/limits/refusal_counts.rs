//! How many requests and connections were refused, by the code of the reason.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts requests and connections that were refused, by the code of the reason. Locked by refusals only.
#[derive(Debug, Default)]
pub struct RefusalCounts(Mutex<BTreeMap<&'static str, u64>>);

impl RefusalCounts {
    /// Counts one.
    pub(in crate::http) fn count(&self, code: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// Returns how many there were, sorted by code.
    pub(in crate::http) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
