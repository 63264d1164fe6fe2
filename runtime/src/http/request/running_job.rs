//! A job that runs to give a response, and may outlive its client.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::body_source::BodySource;
use super::job_end_log::JobEndLog;
use super::job_run::JobRun;
use super::job_task::{mark_invalid, outlive};
use crate::engine::Engine;
use crate::job::{Fault, Job, Leaving, Run, Status};

/// A job that runs to give a response, and may outlive its client.
pub(in crate::http) struct RunningJob<O> {
    pub(in crate::http) run: JobRun<Run>,
    /// What it gives: its stdout, or the response of a component.
    pub(in crate::http) output: O,
    pub(in crate::http) log: JobEndLog,
}

impl<O> RunningJob<O> {
    /// Starts a job with this output.
    pub(in crate::http) fn start(engine: &Arc<Engine>, job: Box<Job>, output: O) -> RunningJob<O> {
        let log = JobEndLog::of(&job);
        RunningJob { run: JobRun::Running(engine.start(job)), output, log }
    }

    /// Reports whether the job goes on to its end after its client has left.
    pub(in crate::http) fn finishes(&self) -> bool {
        self.log.job.entry.conduct.leaving == Leaving::Finish
    }

    /// Lets the job go on to its end after its client has left, once it has its slot. A job that still waits for
    /// a slot has done nothing yet, and ends with its client.
    pub(in crate::http) fn outlive(&mut self) {
        if let Some(run) = self.run.take_running() {
            let log = self.log.clone();
            let (run, outlived) = outlive(run, log.job.usage.clone(), move |outcome| log.tell(outcome));
            (self.run, self.log.outlived) = (JobRun::Running(run), Some(outlived));
        }
    }

    /// Turns an exit status other than 0 into a fault.
    pub(in crate::http) fn check(&self, outcome: Result<Status, Fault>) -> Result<(), Fault> {
        self.log.stderr_tail.check(outcome)
    }

    /// Passes on the fault that is the reason for no response: see [`mark_invalid`]. A job that finishes
    /// without its client is not marked.
    pub(in crate::http) fn refused(&self, fault: Fault) -> Fault {
        if !self.finishes() {
            mark_invalid(&self.log.stop, &fault);
        }
        fault
    }

    /// Gives the job another output.
    pub(in crate::http) fn with<P>(self, output: impl FnOnce(O) -> P) -> RunningJob<P> {
        let RunningJob { run, output: given, log } = self;
        RunningJob { run, output: output(given), log }
    }
}

impl RunningJob<BodySource> {
    /// Lets the job go on to its end. Its output meanwhile is counted and dropped. A body that must not be sent
    /// therefore does not hold the job up, and the job does not see its reader go.
    pub(in crate::http) async fn unread(&mut self) -> Result<Status, Fault> {
        poll_fn(|context| {
            self.run.advance(context);
            self.output.poll_drop(context);
            match &mut self.run {
                JobRun::Running(_) => Poll::Pending,
                JobRun::Exited(end) => Poll::Ready(end.take().unwrap_or(Ok(Status::OK))),
            }
        })
        .await
    }
}
