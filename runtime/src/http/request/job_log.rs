//! Logs and counts the end of a job whose response head was sent.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::access_log::complain;
use super::job_task::{JobEnd, JobTask};
use crate::job::{Fault, HandlerVersion, JobId, Status, Stop, Tail};

/// The job of a response, and the data for its log line.
pub(in crate::http) struct JobLog {
    /// Ends the task of a job that goes on after its client has left; `None` for other jobs.
    pub(in crate::http) outlived: Option<AbortHandle>,
    /// Tells the job why it is dropped.
    pub(in crate::http) stop: Stop,
    pub(in crate::http) stderr_tail: Tail,
    pub(in crate::http) id: JobId,
    pub(in crate::http) entry: Arc<HandlerVersion>,
}

/// Turns an exit status other than 0 into a fault, with the last line of stderr.
pub(in crate::http) fn with_words(JobEnd { outcome, trailers }: JobEnd, stderr_tail: &Tail) -> JobEnd {
    let outcome = outcome.and_then(|status| match status {
        Status::OK => Ok(status),
        status => Err(Fault::Exited { status, last_line: stderr_tail.last_line() }),
    });
    JobEnd { outcome, trailers }
}

/// Waits for the end of a job whose response is over, and logs a failure. The engine has counted it.
pub(in crate::http) async fn ended(mut job: JobTask, JobLog { stderr_tail, id, entry, .. }: JobLog) {
    let finish = poll_fn(|context| job.poll(context)).await;
    tell(id, &entry, finish.outcome, &stderr_tail);
}

/// Logs the failure of a job that had no client left.
pub(in crate::http) fn tell(
    id: JobId,
    entry: &HandlerVersion,
    outcome: Result<Status, Fault>,
    stderr_tail: &Tail,
) {
    let finish = with_words(JobEnd { outcome, trailers: None }, stderr_tail);
    if let Some(fault) = broken(finish.outcome) {
        complain(id, entry, &fault);
    }
}

/// Returns the fault that breaks the response off, if the outcome is not a success.
pub(in crate::http) fn broken(outcome: Result<Status, Fault>) -> Option<Fault> {
    match outcome {
        Ok(status) if status.is_ok() => None,
        Ok(status) => Some(Fault::Exited { status, last_line: String::new() }),
        Err(fault) => Some(fault),
    }
}
