//! The body of a response, streamed from a running job.

use std::mem;
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::coalesce::Coalescer;
use super::job_end_log::JobEndLog;
use super::job_run::{JobEvent, JobRun};
use super::job_task::{JobEnd, JobTask};
use crate::job::{Fault, PipeReader, Status, StopReason, Tail, pipe};

/// A body that a job writes while it is read.
///
/// It ends when the job has ended well. If the job fails after its last byte, the body breaks off: that
/// byte was not meant as the last.
pub(in crate::http) struct JobBody {
    reader: PipeReader,
    /// Bytes that were read ahead.
    begun: Bytes,
    job: JobRun<JobTask>,
    /// Logs the end of the job. `None` for a job whose end is reported elsewhere.
    told: Option<JobEndLog>,
    /// The length that the handler announced, if any.
    announced: Option<u64>,
    /// Bytes still to come, if the handler announced a length.
    left: Option<u64>,
    /// The trailers, once they are known.
    trailers: Option<HeaderMap>,
    /// Reports in trailers how the job ended. If `None`, a failed job breaks the response off.
    verdict: Option<StatusTrailers>,
    crumbs: Coalescer,
}

/// Turns the outcome of a job into the trailers after its body.
pub(in crate::http) struct StatusTrailers {
    /// Makes the trailers from the outcome.
    pub(in crate::http) trailers: Box<dyn FnOnce(Result<Status, Fault>) -> HeaderMap + Send>,
}

impl JobBody {
    /// Starts with the bytes that came with the head, and the announced length, if any.
    pub(in crate::http) fn new(
        reader: PipeReader,
        begun: Bytes,
        job: JobTask,
        announced: Option<u64>,
    ) -> JobBody {
        JobBody {
            reader,
            begun,
            job: JobRun::Running(job),
            told: None,
            announced,
            left: announced,
            trailers: None,
            verdict: None,
            crumbs: Coalescer::default(),
        }
    }

    /// Starts with the complete body of a job that has ended well, and its trailers.
    pub(super) fn of_ended(
        reader: PipeReader,
        begun: Bytes,
        announced: Option<u64>,
        trailers: HeaderMap,
    ) -> JobBody {
        JobBody {
            reader,
            begun,
            job: JobRun::Exited(None),
            told: None,
            announced,
            left: announced,
            trailers: Some(trailers),
            verdict: None,
            crumbs: Coalescer::default(),
        }
    }

    /// Sets how the end of the job is logged and counted.
    pub(super) fn telling(mut self, told: JobEndLog) -> JobBody {
        self.told = Some(told);
        self
    }

    /// Sets the trailers that report how the job ended.
    pub(in crate::http) fn with(self, verdict: Option<StatusTrailers>) -> JobBody {
        let mut body = self;
        body.verdict = verdict;
        body
    }

    /// Returns the next bytes, and the end of the job after them.
    pub(in crate::http) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        loop {
            let is_begun = !self.begun.is_empty();
            let JobBody { job, reader, .. } = self;
            let event = if is_begun {
                job.poll_next(context, |_| Poll::Ready(Some(())))
            } else {
                job.poll_written(reader, context)
            };
            match ready!(event) {
                // A job that failed after its last byte must not look complete.
                Some(JobEvent::Exited(end)) => {
                    if let Some(fault) = self.conclude(end) {
                        return Poll::Ready(Some(Err(fault)));
                    }
                }
                Some(JobEvent::Output(())) => {
                    if !is_begun {
                        ready!(self.crumbs.poll(self.reader.held(), context));
                        self.begun = self.reader.take().unwrap_or_default();
                    }
                    let bytes = mem::take(&mut self.begun);
                    if let Some(bytes) = self.within_length(bytes) {
                        self.crumbs.took(bytes.len());
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                None => return Poll::Ready(self.end()),
            }
        }
    }

    /// Cuts the body at the announced length.
    fn within_length(&mut self, mut bytes: Bytes) -> Option<Bytes> {
        if let Some(left) = &mut self.left {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    /// Notes how the job ended. Returns the fault that breaks the response off, if any.
    fn conclude(&mut self, JobEnd { outcome, trailers }: JobEnd) -> Option<Fault> {
        self.trailers = trailers;
        if let Some(StatusTrailers { trailers }) = self.verdict.take() {
            self.trailers = Some(trailers(outcome));
            return None;
        }
        match &self.told {
            Some(told) => told.stderr_tail.check(outcome).err(),
            None => Tail::new(0).check(outcome).err(),
        }
    }

    /// Ends the response after the job has ended.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, Fault>> {
        let missing = self.left.take().filter(|left| *left > 0);
        if let Some((announced, missing)) = self.announced.zip(missing) {
            return Some(Err(Fault::short_answer(announced, announced - missing)));
        }
        self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
    }

    /// Ends a job whose output is no longer wanted, while its pipe is still open: with its reader gone,
    /// the job would see that and fail. A job whose body is complete goes on to its own end.
    pub(in crate::http) async fn abandon(mut self) {
        if !self.is_whole()
            && let Some(job) = self.job.take_running()
        {
            self.stop(StopReason::Answered);
            match self.told.as_ref().and_then(JobEndLog::outlived) {
                Some(task) => {
                    // The body no longer holds the job up.
                    self.reader = pipe(0).1;
                    job.abandon_outlived(task).await;
                }
                None => job.abandon().await,
            }
        }
    }

    /// Stops the job with a reason.
    pub(in crate::http) fn stop(&self, reason: StopReason) {
        let told = self.told.iter().filter(|told| told.outlived().is_none() || !reason.is_of_the_client());
        told.for_each(|told| told.stop.raise(reason));
    }

    /// Reports whether hyper would ask for nothing more. With a known length, hyper counts the bytes.
    pub(in crate::http) fn is_whole(&self) -> bool {
        self.left == Some(0) && self.begun.is_empty()
    }

    pub(in crate::http) fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// A job whose complete response was taken goes on to its end, within its limits. hyper does not poll a
/// body after its last byte, but the job may still have data to store, and has not failed.
impl Drop for JobBody {
    fn drop(&mut self) {
        let goes_on = self.is_whole() || self.told.as_ref().is_some_and(|told| told.outlived().is_some());
        if goes_on && let Some(job) = self.job.take_running() {
            // Later output is dropped, so that the job does not see its reader go.
            self.reader.forgive();
            match self.told.take() {
                Some(told) => drop(tokio::spawn(told.ended(job))),
                None => job.detach(),
            }
        } else if thread::panicking() {
            // Counted as a panic, and not also as a client that has left.
            self.stop(StopReason::NoAnswer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::engine::idle;
    use crate::http::request::job_task::JobDriver;
    use crate::job::Stop;

    #[tokio::test]
    async fn a_job_behind_a_panic_is_not_taken_for_one_whose_client_has_left() {
        let stop = Stop::new();
        let driver = JobDriver::new(JobRun::Running(Box::pin(std::future::pending())), stop.clone());
        let mut body = JobBody::new(pipe(1).1, Bytes::new(), JobTask::start(driver), None);
        let job = idle::engine().job("idle").unwrap();
        body.told = Some(JobEndLog { stop: stop.clone(), ..JobEndLog::of(&job) });

        let unwound = catch_unwind(AssertUnwindSafe(move || {
            let _body = body;
            panic!("as a bug would");
        }));

        assert!(unwound.is_err());
        assert_eq!(stop.reason(), Some(StopReason::NoAnswer));
    }
}
