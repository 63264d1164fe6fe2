//! Logs and counts the end of a job whose response head was sent.

use std::sync::{Arc, OnceLock};

use tokio::task::AbortHandle;

use super::job_task::JobTask;
use super::logged_job::LoggedJob;
use crate::job::{Fault, Job, Status, Stop, Tail};

/// The job of a response, and the data for its log line.
#[derive(Clone)]
pub(in crate::http) struct JobEndLog {
    /// Ends the task of a job that goes on after its client has left, once it has one. `None` for other jobs.
    pub(in crate::http) outlived: Option<Arc<OnceLock<AbortHandle>>>,
    /// Tells the job why it is dropped.
    pub(in crate::http) stop: Stop,
    pub(in crate::http) stderr_tail: Tail,
    pub(in crate::http) job: LoggedJob,
}

impl JobEndLog {
    pub(in crate::http) fn of(job: &Job) -> JobEndLog {
        let (stop, stderr_tail) = (job.stop.clone(), job.stderr_tail.clone());
        JobEndLog { outlived: None, stop, stderr_tail, job: LoggedJob::of(job) }
    }

    /// Returns what ends the task of a job that goes on after its client has left.
    pub(in crate::http) fn outlived(&self) -> Option<&AbortHandle> {
        self.outlived.as_ref()?.get()
    }

    /// Logs the failure of a job that had no client left.
    pub(in crate::http) fn tell(&self, outcome: Result<Status, Fault>) {
        if let Err(fault) = self.stderr_tail.check(outcome) {
            self.job.complain(&fault);
        }
    }

    /// Waits for the end of a job whose response is over, and logs a failure. The engine has counted it.
    pub(in crate::http) async fn ended(self, job: JobTask) {
        self.tell(job.await.outcome);
    }
}
