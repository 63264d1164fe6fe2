//! The body of a response, streamed from a running job.

use std::mem;
use std::task::{Context, Poll};
use std::thread;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::coalesce::Coalescer;
use super::job_log::{JobLog, broken, ended, with_words};
use super::job_task::{JobEnd, JobTask};
use crate::job::{Fault, PipeReader, Status, StopReason, pipe};

/// A body that a job writes while it is read.
///
/// It ends when the job has, and well: one that fails behind its last byte has not said that the byte
/// was the last.
pub(in crate::http) struct JobBody {
    reader: PipeReader,
    /// What was read ahead.
    begun: Bytes,
    /// `None` once the job has ended.
    job: Option<JobTask>,
    /// `None` for a job whose end somebody else tells.
    told: Option<JobLog>,
    /// Bytes still to come, if the handler said how many.
    left: Option<u64>,
    /// What is said behind the last byte, once it is known.
    trailers: Option<HeaderMap>,
    /// Who is told how the job ended; none: a job that fails breaks the response off.
    verdict: Option<StatusTrailers>,
    crumbs: Coalescer,
}

/// Says how a job ended behind the body that it wrote.
pub(in crate::http) struct StatusTrailers {
    /// Makes the trailers of the job's outcome.
    pub(in crate::http) trailers: Box<dyn FnOnce(Result<Status, Fault>) -> HeaderMap + Send>,
}

impl JobBody {
    /// Starts with what came with a head that said how long the body is, if it did.
    pub(in crate::http) fn new(reader: PipeReader, begun: Bytes, job: JobTask, left: Option<u64>) -> JobBody {
        let crumbs = Coalescer::default();
        JobBody { reader, begun, job: Some(job), told: None, left, trailers: None, verdict: None, crumbs }
    }

    /// Starts with the whole body of a job that has ended well, and what it says behind it.
    pub(super) fn of_ended(
        reader: PipeReader,
        begun: Bytes,
        left: Option<u64>,
        trailers: HeaderMap,
    ) -> JobBody {
        let (trailers, crumbs) = (Some(trailers), Coalescer::default());
        JobBody { reader, begun, job: None, told: None, left, trailers, verdict: None, crumbs }
    }

    /// Has the end of the job logged and counted as this says.
    pub(super) fn telling(mut self, told: JobLog) -> JobBody {
        self.told = Some(told);
        self
    }

    /// Has somebody told how the job ends.
    pub(in crate::http) fn with(self, verdict: Option<StatusTrailers>) -> JobBody {
        let mut ongoing = self;
        ongoing.verdict = verdict;
        ongoing
    }

    /// Gives what is written, and the end of the job behind it.
    pub(in crate::http) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        // Before what was written: a job that failed behind its last byte must not look whole.
        if let Some(job) = &mut self.job
            && let Poll::Ready(finish) = job.poll(context)
        {
            self.job = None;
            if let Some(fault) = self.conclude(finish) {
                return Poll::Ready(Some(Err(fault)));
            }
        }
        loop {
            let mut bytes = mem::take(&mut self.begun);
            if bytes.is_empty() {
                match self.reader.poll_filled(context) {
                    Poll::Ready(true) if self.crumbs.poll(self.reader.held(), context).is_pending() => {
                        return Poll::Pending;
                    }
                    Poll::Ready(true) => bytes = self.reader.take().unwrap_or_default(),
                    // All that the job wrote was in the pipe when it ended. One that closed its stdout and
                    // goes on wakes us when it ends.
                    Poll::Ready(false) | Poll::Pending if self.job.is_none() => {
                        return Poll::Ready(self.end());
                    }
                    Poll::Ready(false) | Poll::Pending => return Poll::Pending,
                }
            }
            if let Some(bytes) = self.within_length(bytes) {
                self.crumbs.took(bytes.len());
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    /// Keeps the handler to the length it announced: what is too much is cut off.
    fn within_length(&mut self, mut bytes: Bytes) -> Option<Bytes> {
        if let Some(left) = &mut self.left {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    /// Notes how the job ended; returns what breaks the response off.
    fn conclude(&mut self, JobEnd { outcome, trailers }: JobEnd) -> Option<Fault> {
        self.trailers = trailers;
        let outcome = match &self.told {
            Some(told) => with_words(JobEnd { outcome, trailers: None }, &told.last_words).outcome,
            None => outcome,
        };
        if let Some(StatusTrailers { trailers }) = self.verdict.take() {
            self.trailers = Some(trailers(outcome));
            return None;
        }
        broken(outcome)
    }

    /// Ends the response whose job has ended.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, Fault>> {
        if let Some(missing) = self.left.take().filter(|left| *left > 0) {
            return Some(Err(Fault::BadAnswer(format!("{missing} bytes less than its Content-Length"))));
        }
        self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
    }

    /// Ends a job of which no more is wanted, while its body can still be written to: one whose reader has
    /// gone would see that, and fail. A job whose body is whole goes on to its own end.
    pub(in crate::http) async fn abandon(mut self) {
        if !self.is_whole()
            && let Some(job) = self.job.take()
        {
            self.stop(StopReason::Answered);
            match self.told.as_ref().and_then(|told| told.outlived.as_ref()) {
                Some(task) => {
                    // Nothing holds the body up any more.
                    self.reader = pipe(0).1;
                    job.abandon_outlived(task).await;
                }
                None => job.abandon().await,
            }
        }
    }

    /// Ends the job, and says why.
    pub(in crate::http) fn stop(&self, reason: StopReason) {
        let told = self.told.iter().filter(|told| told.outlived.is_none() || !reason.is_of_the_client());
        told.for_each(|told| told.stop.raise(reason));
    }

    /// Reports whether nothing is left that hyper would ask for: it counts bytes where it knows how many.
    pub(in crate::http) fn is_whole(&self) -> bool {
        self.left == Some(0) && self.begun.is_empty()
    }

    pub(in crate::http) fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// A job whose whole answer was taken goes on to its end, within its limits: hyper has no use for a
/// body behind its last byte, but the job may have something to put away, and did not fail.
impl Drop for JobBody {
    fn drop(&mut self) {
        let goes_on = self.is_whole() || self.told.as_ref().is_some_and(|told| told.outlived.is_some());
        if goes_on && let Some(job) = self.job.take() {
            // What it still writes is dropped: it is not to be told of a reader that has gone.
            self.reader.forgive();
            match self.told.take() {
                Some(told) => drop(tokio::spawn(ended(job, told))),
                None => job.detach(),
            }
        } else if thread::panicking() {
            // Counted where the panic is, and not as a job whose client has left besides.
            self.stop(StopReason::NoAnswer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;
    use crate::engine::{Engine, NativeJob};
    use crate::http::request::job_task::JobDriver;
    use crate::job::{Job, Policy, Run, Stop};

    struct Idle;

    impl NativeJob for Idle {
        fn run(self: Arc<Self>, _engine: Arc<Engine>, _job: Job) -> Run {
            Box::pin(std::future::ready(Ok(Status::OK)))
        }
    }

    #[tokio::test]
    async fn a_job_behind_a_panic_is_not_taken_for_one_whose_client_has_left() {
        let stop = Stop::new();
        let carrying = JobDriver::new(Some(Box::pin(std::future::pending())), stop.clone());
        let mut ongoing = JobBody::new(pipe(1).1, Bytes::new(), JobTask::start(carrying), None);
        let engine = Engine::new(1);
        engine.register("idle", Policy::WORK, Arc::new(Idle)).unwrap();
        let job = engine.job("idle").unwrap();
        ongoing.told = Some(JobLog {
            outlived: None,
            stop: stop.clone(),
            last_words: job.last_words,
            id: job.id,
            entry: job.entry,
        });

        let unwound = catch_unwind(AssertUnwindSafe(move || {
            let _ongoing = ongoing;
            panic!("as a bug would");
        }));

        assert!(unwound.is_err());
        assert_eq!(stop.reason(), Some(StopReason::NoAnswer));
    }
}
