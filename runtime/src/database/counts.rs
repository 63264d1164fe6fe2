//! The counters of a database, by operation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::error::SqlError;
use super::value::SqlCommand;
use crate::observe::latency::{LatencyHistogram, LatencySnapshot};

/// The operations, as metrics name them.
pub const SQL_OPERATIONS: [&str; 4] = ["statement", "begin", "commit", "rollback"];

/// How it ended, as metrics name it.
const ENDS: [&str; 4] = ["ok", "conflict", "refused", "outage"];

/// The counters of one operation.
#[derive(Debug, Default)]
pub struct SqlCounts {
    ended: [AtomicU64; ENDS.len()],
    micros: AtomicU64,
    durations: LatencyHistogram,
}

impl SqlCounts {
    /// Returns the number of operations by how they have ended.
    pub fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ENDS.into_iter().zip(self.ended.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Returns the time that all of them took, waiting included.
    pub fn time(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    /// Returns the distribution of their durations.
    pub fn durations(&self) -> LatencySnapshot {
        self.durations.snapshot()
    }

    pub(super) fn count<T>(&self, outcome: &Result<T, SqlError>, took: Duration) {
        let end = match outcome {
            Ok(_) => 0,
            Err(SqlError::Conflict(_)) => 1,
            Err(
                SqlError::Invalid(_)
                | SqlError::NotAllowed(_)
                | SqlError::Constraint(_)
                | SqlError::QuotaExceeded
                | SqlError::TooLarge(_)
                | SqlError::Migration(_),
            ) => 2,
            Err(
                SqlError::Timeout(_)
                | SqlError::Unavailable(_)
                | SqlError::Interrupted(_)
                | SqlError::Corrupt(_),
            ) => 3,
        };
        self.ended[end].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.durations.observe(took);
    }
}

/// Returns the place of a command in [`SQL_OPERATIONS`].
pub(super) fn place(command: &SqlCommand) -> usize {
    match command {
        SqlCommand::Statement { .. } => 0,
        SqlCommand::Begin => 1,
        SqlCommand::Commit => 2,
        SqlCommand::Rollback => 3,
    }
}
