//! Stops a running statement: when its job is gone, or when its time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::database::limits::PATIENCE;

/// What a connection's thread and the job that uses it share.
///
/// SQLite's own interrupt is a flag that a statement of the next job could find still set. A number of each statement
/// cannot be mistaken.
pub(super) struct StatementControl {
    origin: Instant,
    /// The number of the statement that runs.
    current: AtomicU64,
    /// The highest number that is to stop.
    cancelled: AtomicU64,
    /// When the current statement is to stop, in milliseconds after `origin`.
    deadline_ms: AtomicU64,
    /// The quota of the database in bytes.
    quota: Arc<AtomicU64>,
}

impl StatementControl {
    pub(super) fn new(quota: Arc<AtomicU64>) -> StatementControl {
        StatementControl {
            origin: Instant::now(),
            current: AtomicU64::new(u64::MAX),
            cancelled: AtomicU64::new(0),
            deadline_ms: AtomicU64::new(u64::MAX),
            quota,
        }
    }

    /// Begins a statement that may run until `deadline`.
    pub(super) fn begin(&self, number: u64, deadline: Instant) {
        let allowed = deadline.saturating_duration_since(self.origin).as_millis();
        self.deadline_ms.store(u64::try_from(allowed).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.current.store(number, Ordering::Relaxed);
    }

    /// Stops a statement, whether it runs or has not begun.
    pub(super) fn cancel(&self, number: u64) {
        self.cancelled.fetch_max(number, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self, number: u64) -> bool {
        self.cancelled.load(Ordering::Relaxed) >= number
    }

    /// Whether the current statement is to stop.
    pub(super) fn is_over(&self) -> bool {
        self.is_cancelled(self.current.load(Ordering::Relaxed))
            || self.origin.elapsed().as_millis() >= u128::from(self.deadline_ms.load(Ordering::Relaxed))
    }

    /// Waits for a lock that another connection holds, for the `count`th time. Returns whether to try again.
    #[expect(
        clippy::disallowed_methods,
        reason = "SQLite tells nobody when another connection gives up its lock"
    )]
    pub(super) fn wait_for_lock(&self, count: i32) -> bool {
        const STEP: Duration = Duration::from_millis(2);
        let waited = STEP.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        if self.is_over() || waited > PATIENCE {
            return false;
        }
        std::thread::sleep(STEP);
        true
    }

    pub(super) fn quota(&self) -> u64 {
        self.quota.load(Ordering::Relaxed)
    }
}
