//! The counters of a store, by operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::observe::latency::{LatencyHistogram, LatencySnapshot};

/// An operation, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `get` and `exists`.
    Get,
    /// `set` without a condition.
    Set,
    /// `set` if absent, or if the version is still the same.
    Swap,
    /// `delete`.
    Delete,
    /// `increment`.
    Increment,
    /// `list`.
    List,
    /// Any batch.
    Batch,
    /// A request counted against a rate limit.
    Rate,
}

/// All operations with their labels.
pub const OPERATIONS: [(Operation, &str); 8] = [
    (Operation::Get, "get"),
    (Operation::Set, "set"),
    (Operation::Swap, "swap"),
    (Operation::Delete, "delete"),
    (Operation::Increment, "increment"),
    (Operation::List, "list"),
    (Operation::Batch, "batch"),
    (Operation::Rate, "rate"),
];

/// What is counted of one operation.
#[derive(Debug, Default)]
pub struct OperationCounts {
    done: AtomicU64,
    refused: AtomicU64,
    outages: AtomicU64,
    conflicts: AtomicU64,
    micros: AtomicU64,
    durations: LatencyHistogram,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    /// The condition of a swap did not hold.
    Conflict,
    /// The request was refused: a bound, the quota, an overflow.
    Refused,
    /// The store failed.
    Outage,
}

impl OperationCounts {
    /// Counts an operation.
    pub(super) fn count(&self, ended: Ended, took: Duration) {
        let counter = match ended {
            Ended::Done => &self.done,
            Ended::Conflict => &self.conflicts,
            Ended::Refused => &self.refused,
            Ended::Outage => &self.outages,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.durations.observe(took);
    }

    /// Operations by how they ended: done, swaps that lost, refused ones, and failures of the store.
    pub fn ended(&self) -> [(&'static str, u64); 4] {
        [
            ("ok", self.done.load(Ordering::Relaxed)),
            ("conflict", self.conflicts.load(Ordering::Relaxed)),
            ("refused", self.refused.load(Ordering::Relaxed)),
            ("outage", self.outages.load(Ordering::Relaxed)),
        ]
    }

    /// The distribution of their durations.
    pub fn durations(&self) -> LatencySnapshot {
        self.durations.snapshot()
    }

    /// The time that all of them took.
    pub fn time(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}
