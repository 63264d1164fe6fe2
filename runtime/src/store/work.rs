//! The processor time that the threads of a store spend on the operations of one caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

tokio::task_local! {
    /// The account of the operation that this task runs.
    static PAYER: Arc<StoreWork>;
}

/// An account of processor time, in nanoseconds.
///
/// An operation on memory runs in the task of its caller. A read of many rows of a file, and every commit, runs on another
/// thread, where no clock of the caller sees it.
#[derive(Debug, Default)]
pub struct StoreWork {
    /// Whose operations take turns with those of other lines.
    line: usize,
    reads: AtomicU64,
    commits: AtomicU64,
}

impl StoreWork {
    /// Makes the account of a caller. Callers with the same line, which is any number, are queued together.
    pub fn of(line: usize) -> StoreWork {
        StoreWork { line, ..StoreWork::default() }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Runs operations whose work on other threads goes to this account.
    ///
    /// # Cancel safety
    /// That of the operations. Work that is done later is not charged.
    pub async fn pay<T>(self: &Arc<Self>, operations: impl Future<Output = T>) -> T {
        PAYER.scope(self.clone(), operations).await
    }

    /// Returns the time of reads on threads that may block since it was taken last.
    pub fn take_reads(&self) -> Duration {
        Duration::from_nanos(self.reads.swap(0, Ordering::Relaxed))
    }

    /// Returns the shares of commits since they were taken last.
    pub fn take_commits(&self) -> Duration {
        Duration::from_nanos(self.commits.swap(0, Ordering::Relaxed))
    }

    pub(super) fn add_read(&self, time: Duration) {
        self.reads.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// Adds the share of a commit that a write of this weight has among all of them.
    pub(super) fn add_commit(&self, time: Duration, weight: usize, all: usize) {
        let weight = u64::try_from(weight).unwrap_or(u64::MAX);
        let all = u64::try_from(all).unwrap_or(u64::MAX).max(1);
        self.commits.fetch_add(nanos(time).saturating_mul(weight) / all, Ordering::Relaxed);
    }
}

/// Returns the account of the operation that this task runs, if it has one.
pub(super) fn payer() -> Option<Arc<StoreWork>> {
    PAYER.try_with(Arc::clone).ok()
}

/// Returns the line of the operation that this task runs. It is 0 if nobody pays for the operation.
pub(super) fn line() -> usize {
    PAYER.try_with(|payer| payer.line()).unwrap_or(0)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_shared_by_the_size_of_its_writes() {
        let (large, small) = (StoreWork::default(), StoreWork::default());

        large.add_commit(Duration::from_millis(8), 3, 4);
        small.add_commit(Duration::from_millis(8), 1, 4);

        assert_eq!(large.take_commits(), Duration::from_millis(6));
        assert_eq!(small.take_commits(), Duration::from_millis(2));
        assert_eq!(small.take_commits(), Duration::ZERO);
    }
}
