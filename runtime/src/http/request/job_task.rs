//! A job that a task polls after its response head is sent.
//!
//! The job runs ahead of its client by as much as a pipe holds. A slow client delays its end only if the rest
//! of the response does not fit in the pipe.

use std::future::{Future as _, poll_fn};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use crate::cgi::document;
use crate::http::timeouts::{HEAD_HOLD, HEAD_HOLD_FAILING};
use crate::job::{
    Destination as _, Fault, PipeReader, PipeWriter, ResponseBody, Run, Status, Stop, StopReason,
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
    run: RunState,
    body: Option<(ResponseBody, PipeWriter)>,
    /// Bytes that the pipe had no room for.
    rest: Bytes,
    trailers: Option<HeaderMap>,
    stop: Stop,
}

/// A run, or its outcome.
enum RunState {
    Run(Run),
    Ended(Result<Status, Fault>),
}

impl JobTask {
    /// Runs a job in a task of its own.
    pub(in crate::http) fn start(mut carrying: JobDriver) -> JobTask {
        JobTask(Some(tokio::spawn(poll_fn(move |context| carrying.poll(context)))))
    }

    /// Waits until the job and its body have ended. After that, always pending.
    pub(in crate::http) fn poll(&mut self, context: &mut Context<'_>) -> Poll<JobEnd> {
        let Some(task) = &mut self.0 else { return Poll::Pending };
        let finish = ready!(Pin::new(task).poll(context));
        self.0 = None;
        Poll::Ready(finish.unwrap_or_else(|failure| JobEnd {
            outcome: Err(Fault::Host(anyhow::Error::from(failure).context("the task of a job failed"))),
            trailers: None,
        }))
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
        let _finish = poll_fn(|context| self.poll(context)).await;
    }

    /// Lets the job go on to its end, within its limits. It is in the engine's table, so a shutdown waits for
    /// it and ends it.
    pub(in crate::http) fn detach(mut self) {
        self.0 = None;
    }
}

/// Runs a job in a task of its own, which goes on when the returned run is dropped. In that case, `unheard`
/// gets its outcome. The job is in the engine's table, where its limits and a shutdown end it.
pub(in crate::http) fn outlive(
    run: Run,
    unheard: impl FnOnce(Result<Status, Fault>) + Send + 'static,
) -> (Run, AbortHandle) {
    let (sender, ended) = oneshot::channel();
    let task = tokio::spawn(async move {
        let outcome = run.await;
        if let Err(outcome) = sender.send(outcome) {
            unheard(outcome);
        }
    });
    let failed = |_| Err(Fault::Host(anyhow::anyhow!("the task of a job failed")));
    (Box::pin(async move { ended.await.unwrap_or_else(failed) }), task.abort_handle())
}

impl Drop for JobTask {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl JobEnd {
    /// The end of a job that has ended well, without trailers.
    pub(in crate::http) fn well() -> JobEnd {
        JobEnd { outcome: Ok(Status::OK), trailers: None }
    }
}

impl JobDriver {
    /// Begins with a run, or with `None` if the job has already ended well.
    pub(in crate::http) fn new(run: Option<Run>, stop: Stop) -> JobDriver {
        let run = run.map_or(RunState::Ended(Ok(Status::OK)), RunState::Run);
        JobDriver { run, body: None, rest: Bytes::new(), trailers: None, stop }
    }

    /// Reports whether the job still runs.
    pub(in crate::http) fn is_running(&self) -> bool {
        matches!(self.run, RunState::Run(_))
    }

    /// Adds a body that is copied into a pipe.
    pub(in crate::http) fn with(self, body: ResponseBody, writer: PipeWriter) -> JobDriver {
        JobDriver { body: Some((body, writer)), ..self }
    }

    /// Polls the job, and copies the body it has given meanwhile.
    pub(in crate::http) fn poll(&mut self, context: &mut Context<'_>) -> Poll<JobEnd> {
        if let RunState::Run(run) = &mut self.run
            && let Poll::Ready(outcome) = run.as_mut().poll(context)
        {
            self.run = RunState::Ended(outcome);
        }
        let carried = match &self.run {
            // After a fault, nothing more of the body is sent.
            RunState::Ended(Err(_)) => Poll::Ready(Ok(())),
            RunState::Ended(Ok(_)) | RunState::Run(_) => self.carry(context),
        };
        let broken = match carried {
            Poll::Ready(carried) => carried.err(),
            Poll::Pending if self.is_cut() => {
                Some(Fault::BadAnswer("the handler ended before its body did".to_owned()))
            }
            Poll::Pending => return Poll::Pending,
        };
        let outcome = match broken {
            Some(fault) => Err(self.reason(fault, context)),
            None => match &mut self.run {
                RunState::Ended(outcome) => mem::replace(outcome, Ok(Status::OK)),
                RunState::Run(_) => return Poll::Pending,
            },
        };
        Poll::Ready(JobEnd { outcome, trailers: self.trailers.take() })
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
                        let _gone = writer.write(&self.rest.split_to(fits));
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
        self.rest.is_empty() && matches!(self.run, RunState::Ended(_))
    }

    /// Ends a job whose body broke off, and returns the reason. The job's own fault says more than that its
    /// body broke off.
    fn reason(&mut self, fault: Fault, context: &mut Context<'_>) -> Fault {
        let outcome = match &mut self.run {
            RunState::Ended(outcome) => mem::replace(outcome, Ok(Status::OK)),
            RunState::Run(run) => match run.as_mut().poll(context) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    // Before the drop, which would otherwise be taken as the reason.
                    mark_invalid(&self.stop, &fault);
                    Ok(Status::OK)
                }
            },
        };
        self.run = RunState::Ended(Ok(Status::OK));
        outcome.err().unwrap_or(fault)
    }
}

/// Waits until the job has ended, or the first byte of its body is here, but no longer than a head with this
/// status is held back. Returns the end of the job in the first case.
pub(in crate::http) async fn first_sign(
    carrying: &mut JobDriver,
    reader: &mut PipeReader,
    status: StatusCode,
) -> Option<JobEnd> {
    let patience = if status.is_server_error() { HEAD_HOLD_FAILING } else { HEAD_HOLD };
    let sign = poll_fn(|context| match (carrying.poll(context), reader.poll_filled(context)) {
        (Poll::Ready(finish), _) => Poll::Ready(Some(finish)),
        (Poll::Pending, Poll::Ready(true)) => Poll::Ready(None),
        (Poll::Pending, Poll::Ready(false) | Poll::Pending) => Poll::Pending,
    });
    timeout(patience, sign).await.ok().flatten()
}

/// Marks a job that is about to be dropped because its response is invalid or too large. It then counts as
/// that, and not also as a job whose client has left.
pub(in crate::http) fn mark_invalid(stop: &Stop, fault: &Fault) {
    if let Fault::BadAnswer(_) | Fault::OutputTooLarge(_) = fault {
        stop.raise(StopReason::NoAnswer);
    }
}
