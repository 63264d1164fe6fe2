//! A job that is being run for its answer, and whether it outlives its client.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::task::AbortHandle;

use super::body_source::BodySource;
use super::job_log::tell;
use super::job_task::{mark_invalid, outlive};
use crate::job::{Entry, Fault, JobId, Leaving, Run, Status, Stop, Tail, Usage};

/// A job that is being run for its answer.
pub(in crate::http) struct RunningJob {
    /// None once the job has ended well.
    pub(in crate::http) run: Option<Run>,
    /// Tells a job that is dropped why.
    pub(in crate::http) stop: Stop,
    pub(in crate::http) last_words: Tail,
    pub(in crate::http) usage: Arc<Usage>,
    pub(in crate::http) id: JobId,
    pub(in crate::http) entry: Arc<Entry>,
    /// Ends the task of a job that outlives this.
    pub(in crate::http) outlived: Option<AbortHandle>,
}

impl RunningJob {
    /// Lets the job go on; ready when it has ended well.
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
            status => Err(Fault::Exited { status, last_line: self.last_words.last_line() }),
        })
    }

    /// Reports whether the job goes on to its end when its client has left.
    pub(in crate::http) fn finishes(&self) -> bool {
        self.entry.conduct.leaving == Leaving::Finish
    }

    /// Has the job run in a task of its own, which goes on when this is dropped. One that is still in line ends
    /// with its client: it has done nothing yet.
    fn outlive(&mut self, run: Run) -> Run {
        let (id, entry, last_words) = (self.id, self.entry.clone(), self.last_words.clone());
        let (run, outlived) = outlive(run, move |outcome| tell(id, &entry, outcome, &last_words));
        self.outlived = Some(outlived);
        run
    }

    /// Lets the job go on to its own end. What it writes meanwhile counts as output and is dropped: a
    /// body that nobody may have must not hold it up, nor be told to it as a reader that has gone.
    pub(in crate::http) fn poll_unread(
        &mut self,
        source: &mut BodySource,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        let ended = self.poll(context);
        source.poll_drop(context);
        ended
    }

    /// Passes on why there is no answer: see [`mark_invalid`]. A job that finishes is not about to be dropped.
    pub(in crate::http) fn refused(&self, fault: Fault) -> Fault {
        if !self.finishes() {
            mark_invalid(&self.stop, &fault);
        }
        fault
    }
}
