//! A job that runs to give a response, and may outlive its client.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::task::AbortHandle;

use super::body_source::BodySource;
use super::job_log::tell;
use super::job_task::{mark_invalid, outlive};
use crate::job::{Fault, HandlerVersion, JobId, Leaving, Run, Status, Stop, Tail, Usage};

/// A job that runs to give a response.
pub(in crate::http) struct RunningJob {
    /// `None` once the job has ended well.
    pub(in crate::http) run: Option<Run>,
    /// Tells the job why it is dropped.
    pub(in crate::http) stop: Stop,
    pub(in crate::http) stderr_tail: Tail,
    pub(in crate::http) usage: Arc<Usage>,
    pub(in crate::http) id: JobId,
    pub(in crate::http) entry: Arc<HandlerVersion>,
    /// Ends the task of a job that outlives its client.
    pub(in crate::http) outlived: Option<AbortHandle>,
}

impl RunningJob {
    /// Polls the job. Ready when it has ended well.
    pub(in crate::http) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(mut run) = self.run.take() else { return Poll::Ready(Ok(())) };
        let mut outcome = run.as_mut().poll(context);
        if outcome.is_pending() && self.outlived.is_none() && self.finishes() && self.usage.has_begun() {
            run = self.outlive(run);
            outcome = run.as_mut().poll(context);
        }
        if outcome.is_pending() {
            self.run = Some(run);
        }
        let outcome = ready!(outcome);
        Poll::Ready(match outcome? {
            Status::OK => Ok(()),
            status => Err(Fault::Exited { status, last_line: self.stderr_tail.last_line() }),
        })
    }

    /// Reports whether the job goes on to its end after its client has left.
    pub(in crate::http) fn finishes(&self) -> bool {
        self.entry.conduct.leaving == Leaving::Finish
    }

    /// Moves the job to a task of its own, which goes on when this is dropped. A job that still waits for a
    /// slot is not moved: it has done nothing yet, and ends with its client.
    fn outlive(&mut self, run: Run) -> Run {
        let (id, entry, stderr_tail) = (self.id, self.entry.clone(), self.stderr_tail.clone());
        let (run, outlived) = outlive(run, move |outcome| tell(id, &entry, outcome, &stderr_tail));
        self.outlived = Some(outlived);
        run
    }

    /// Lets the job go on to its end. Its output meanwhile is counted and dropped. A body that must not be sent
    /// therefore does not hold the job up, and the job does not see its reader go.
    pub(in crate::http) fn poll_unread(
        &mut self,
        source: &mut BodySource,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        let ended = self.poll(context);
        source.poll_drop(context);
        ended
    }

    /// Passes on the fault that is the reason for no response: see [`mark_invalid`]. A job that finishes
    /// without its client is not marked.
    pub(in crate::http) fn refused(&self, fault: Fault) -> Fault {
        if !self.finishes() {
            mark_invalid(&self.stop, &fault);
        }
        fault
    }
}
