//! A job that a task polls after its response head is sent.
//!
//! The job runs ahead of its client by as much as a pipe holds. A slow client delays its end only if the rest
//! of the response does not fit in the pipe.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use super::job_run::{JobEvent, JobRun, has_to_yield};
use crate::cgi::document;
use crate::http::timeouts::{HEAD_HOLD, HEAD_HOLD_FAILING};
use crate::job::{
    Destination as _, Fault, PipeReader, PipeWriter, ResponseBody, Run, Status, Stop, StopReason, Usage,
};

/// A job polled by a task of its own. Dropping this ends the job.
pub(in crate::http) struct JobTask(Option<JoinHandle<JobEnd>>);

/// How a job and its body ended.
pub(in crate::http) struct JobEnd {
    /// If the handler has not finished its body, this is a fault; the fault of the job itself takes precedence.
    pub(in crate::http) outcome: Result<Status, Fault>,
    /// The trailers that the handler gives after its body.
    pub(in crate::http) trailers: Option<HeaderMap>,
}

/// A job, and the body that its handler gives, if any, which is copied into a pipe.
pub(in crate::http) struct JobDriver {
    run: JobRun<Run>,
    body: Option<(ResponseBody, PipeWriter)>,
    /// Bytes that the pipe had no room for.
    rest: Bytes,
    trailers: Option<HeaderMap>,
    stop: Stop,
}

impl JobTask {
    /// Runs a job in a task of its own.
    pub(in crate::http) fn start(driver: JobDriver) -> JobTask {
        JobTask(Some(tokio::spawn(driver)))
    }

    /// Ends the job, and waits until it is gone.
    pub(in crate::http) async fn abandon(mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            // It was aborted or had ended; either is fine.
            let _finish = task.await;
        }
    }

    /// Ends a job that runs in the given task, and waits until it is gone. Its body must not wait for a reader.
    pub(in crate::http) async fn abandon_outlived(mut self, task: &AbortHandle) {
        task.abort();
        let _finish = (&mut self).await;
    }

    /// Lets the job go on to its end, within its limits. It is in the engine's table, so a shutdown waits for
    /// it and ends it.
    pub(in crate::http) fn detach(mut self) {
        self.0 = None;
    }
}

/// Waits until the job and its body have ended. After that, always pending.
impl Future for JobTask {
    type Output = JobEnd;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<JobEnd> {
        let Some(task) = &mut self.0 else { return Poll::Pending };
        let finish = ready!(Pin::new(task).poll(context));
        self.0 = None;
        Poll::Ready(finish.unwrap_or_else(|failure| JobEnd {
            outcome: Err(Fault::Host(anyhow::Error::from(failure).context("the task of a job failed"))),
            trailers: None,
        }))
    }
}

impl Drop for JobTask {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Moves a job to a task of its own as soon as it has begun and has to wait. It goes on there when the returned run
/// is dropped. In that case, `unheard` gets its outcome. The job is in the engine's table, where its limits and a
/// shutdown end it. The handle that ends the task is set once there is one.
pub(in crate::http) fn outlive(
    mut run: Run,
    usage: Arc<Usage>,
    unheard: impl FnOnce(Result<Status, Fault>) + Send + 'static,
) -> (Run, Arc<OnceLock<AbortHandle>>) {
    let outlived = Arc::new(OnceLock::new());
    let handle = outlived.clone();
    let run = async move {
        let ended = poll_fn(|context| match run.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if usage.has_begun() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(outcome) = ended.await {
            return outcome;
        }
        let (sender, ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let outcome = run.await;
            if let Err(outcome) = sender.send(outcome) {
                unheard(outcome);
            }
        });
        let _once = handle.set(task.abort_handle());
        ended.await.unwrap_or_else(|_| Err(Fault::Host(anyhow::anyhow!("the task of a job failed"))))
    };
    (Box::pin(run), outlived)
}

impl JobEnd {
    /// The end of a job that has ended well, without trailers.
    pub(in crate::http) fn well() -> JobEnd {
        JobEnd { outcome: Ok(Status::OK), trailers: None }
    }
}

/// Polls the job, and copies the body it has given meanwhile.
impl Future for JobDriver {
    type Output = JobEnd;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<JobEnd> {
        let this = &mut *self;
        this.run.advance(context);
        let carried = match &this.run {
            // After a fault, nothing more of the body is sent.
            JobRun::Exited(Some(Err(_))) => Poll::Ready(Ok(())),
            JobRun::Exited(_) | JobRun::Running(_) => this.carry(context),
        };
        let broken = match carried {
            Poll::Ready(carried) => carried.err(),
            Poll::Pending if this.is_cut() && !has_to_yield(context) => {
                Some(Fault::BadAnswer("the handler ended before its body did".to_owned()))
            }
            Poll::Pending => return Poll::Pending,
        };
        let outcome = match broken {
            Some(fault) => Err(this.reason(fault, context)),
            None if this.run.is_running() => return Poll::Pending,
            None => this.run.take_end().unwrap_or(Ok(Status::OK)),
        };
        Poll::Ready(JobEnd { outcome, trailers: this.trailers.take() })
    }
}

impl JobDriver {
    pub(in crate::http) fn new(run: JobRun<Run>, stop: Stop) -> JobDriver {
        JobDriver { run, body: None, rest: Bytes::new(), trailers: None, stop }
    }

    /// Adds a body that is copied into a pipe, behind the bytes of it that were read before.
    pub(in crate::http) fn with(self, body: ResponseBody, writer: PipeWriter, rest: Bytes) -> JobDriver {
        JobDriver { body: Some((body, writer)), rest, ..self }
    }

    /// Copies the body into the pipe. Ready when all of it is copied.
    fn carry(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            let Some((body, writer)) = &mut self.body else { return Poll::Ready(Ok(())) };
            if !self.rest.is_empty() {
                match ready!(writer.poll_room(context)) {
                    Ok(room) => {
                        let fits = room.min(self.rest.len());
                        // With its reader gone, the pipe needs no more: the rest is dropped.
                        let _gone = writer.write_owned(self.rest.split_to(fits));
                    }
                    Err(_gone) => self.rest.clear(),
                }
                continue;
            }
            match ready!(Pin::new(body).poll_frame(context)) {
                None => self.body = None,
                Some(Err(fault)) => {
                    self.body = None;
                    return Poll::Ready(Err(fault));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok().map(document::trailers);
                        self.body = None;
                    }
                },
            }
        }
    }

    /// Reports whether the job has ended without an end of its body.
    fn is_cut(&self) -> bool {
        self.rest.is_empty() && !self.run.is_running()
    }

    /// Ends a job whose body broke off, and returns the reason. The job's own fault says more than that its
    /// body broke off.
    fn reason(&mut self, fault: Fault, context: &mut Context<'_>) -> Fault {
        self.run.advance(context);
        match self.run.take_end() {
            Some(outcome) => outcome.err().unwrap_or(fault),
            None => {
                // Before the drop, which would otherwise be taken as the reason.
                mark_invalid(&self.stop, &fault);
                self.run = JobRun::Exited(None);
                fault
            }
        }
    }
}

/// Waits until the job has ended, or the first byte of its body is here, but no longer than a head with this
/// status is held back.
pub(in crate::http) async fn first_sign(
    job: &mut JobRun<JobDriver>,
    reader: &mut PipeReader,
    status: StatusCode,
) {
    let patience = if status.is_server_error() { HEAD_HOLD_FAILING } else { HEAD_HOLD };
    if let Ok(Some(JobEvent::Exited(end))) = timeout(patience, job.written(reader)).await {
        *job = JobRun::Exited(Some(end));
    }
}

/// Marks a job that is about to be dropped because its response is invalid or too large. It then counts as
/// that, and not also as a job whose client has left.
pub(in crate::http) fn mark_invalid(stop: &Stop, fault: &Fault) {
    if let Fault::BadAnswer(_) | Fault::OutputTooLarge(_) = fault {
        stop.raise(StopReason::NoAnswer);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;

    use super::*;
    use crate::job::{PIPE_CAPACITY, pipe};

    #[tokio::test]
    async fn a_body_whose_frames_exceed_the_budget_of_the_task_is_not_cut() {
        const FRAMES: usize = 1000;
        let (frames, mut given) = mpsc::unbounded_channel::<Result<_, Fault>>();
        (0..FRAMES).for_each(|_| frames.send(Ok(Frame::data(Bytes::from_static(b"x")))).unwrap());
        drop(frames);
        let body = StreamBody::new(stream::poll_fn(move |context| given.poll_recv(context))).boxed_unsync();
        let (writer, mut reader) = pipe(PIPE_CAPACITY);
        let driver = JobDriver::new(JobRun::Exited(None), Stop::new()).with(body, writer, Bytes::new());

        let end = driver.await;

        assert!(matches!(end.outcome, Ok(Status::OK)));
        let mut length = 0;
        while let Some(bytes) = reader.take() {
            length += bytes.len();
        }
        assert_eq!(length, FRAMES);
    }
}
