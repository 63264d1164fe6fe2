//! Counts the spans that were sent and those that were not.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of all tracers since the start of the process.
#[derive(Default, Debug)]
pub struct TraceCounts {
    sent: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    failed: AtomicU64,
}

/// Why spans were not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// The queue was full.
    QueueFull,
    /// The collector did not take them.
    NotDelivered,
    /// Their trace, or their job, had as many as allowed.
    TraceLimit,
}

impl DropReason {
    /// All reasons, in the order of their definition, which is that of their counts.
    pub const ALL: [DropReason; 3] =
        [DropReason::QueueFull, DropReason::NotDelivered, DropReason::TraceLimit];

    /// Returns the label of the reason in metrics.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue_full",
            DropReason::NotDelivered => "not_delivered",
            DropReason::TraceLimit => "trace_limit",
        }
    }
}

impl TraceCounts {
    pub(super) fn sent(&self, spans: usize) {
        self.sent.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, reason: DropReason, spans: usize) {
        self.dropped[reason as usize].fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn export_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of spans that the collector has taken.
    pub fn all_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns the number of spans that were dropped for a reason.
    pub fn all_dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    /// Returns the number of requests that the collector did not take.
    pub fn failed_exports(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}
