//! Counts refused requests and connections by the code of the reason.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts refused requests and connections by the code of the reason. Only refusals take the lock.
#[derive(Debug, Default)]
pub struct RefusalCounts(Mutex<BTreeMap<&'static str, u64>>);

impl RefusalCounts {
    /// Counts one refusal.
    pub(in crate::http) fn count(&self, code: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// Returns the counts, sorted by code.
    pub(in crate::http) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
