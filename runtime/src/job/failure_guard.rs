//! Guards that a failed job is counted once.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the failure of one job was counted. Counting takes this guard, so that the code that notes the failure
/// first decides its reason, and no later code counts it again.
#[derive(Debug, Default)]
pub struct FailureGuard(AtomicBool);

impl FailureGuard {
    /// Marks the failure as counted. Returns `false` if it was already.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}
