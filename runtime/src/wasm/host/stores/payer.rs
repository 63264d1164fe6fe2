//! Charges a job for the processor time that the threads of stores spend on it.

use std::sync::Arc;

use crate::job::{Job, Usage};
use crate::observe::traces::SpanRef;
use crate::store::StoreWork;

/// The job that pays for operations.
#[derive(Clone, Default)]
pub(super) struct StorePayer {
    usage: Arc<Usage>,
    work: Arc<StoreWork>,
    /// Whether reads run on the file threads of its handler, which charge the job themselves.
    has_file_threads: bool,
}

impl StorePayer {
    pub(super) fn of(job: &Job) -> StorePayer {
        let grants = &job.entry.grants;
        let has_file_threads = !grants.mounts.is_empty() || grants.tmp.is_some();
        // All jobs of a handler's version are one line.
        let work = Arc::new(StoreWork::of(Arc::as_ptr(&job.entry).addr()));
        StorePayer { usage: job.usage.clone(), work, has_file_threads }
    }

    /// Returns the span below which operations are. `None` if the job is not traced.
    pub(super) fn span(&self) -> Option<SpanRef> {
        self.usage.spans.innermost()
    }

    /// Runs an operation and charges the job. Its CPU limit is checked when the job returns from its poll.
    pub(super) async fn pay<T>(&self, operation: impl Future<Output = T>) -> T {
        let outcome = self.work.pay(operation).await;
        let (reads, commits) = (self.work.take_reads(), self.work.take_commits());
        let spent = if self.has_file_threads { commits } else { reads + commits };
        if !spent.is_zero() {
            self.usage.spend(spent);
        }
        outcome
    }
}
