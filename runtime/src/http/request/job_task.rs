//! A job behind the head of its answer. It goes on by itself, up to what a pipe holds ahead of its client, so
//! that a client that takes its time keeps the job from ending only where the answer does not fit.

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

/// A job that is polled by a task of its own. Dropping it ends the job.
pub(in crate::http) struct JobTask(Option<JoinHandle<JobEnd>>);

/// How a job and its body have ended.
pub(in crate::http) struct JobEnd {
    /// A body that its handler has not finished is a fault, unless the job's own end says more.
    pub(in crate::http) outcome: Result<Status, Fault>,
    /// What the handler says behind its body.
    pub(in crate::http) trailers: Option<HeaderMap>,
}

/// A job, and the body that it gives by itself, if it does: that is carried into a pipe.
pub(in crate::http) struct JobDriver {
    run: RunState,
    body: Option<(ResponseBody, PipeWriter)>,
    /// What the pipe has no room for.
    rest: Bytes,
    trailers: Option<HeaderMap>,
    stop: Stop,
}

/// A run until it has ended.
enum RunState {
    Run(Run),
    Ended(Result<Status, Fault>),
}

impl JobTask {
    /// Lets a job go on in a task of its own.
    pub(in crate::http) fn start(mut carrying: JobDriver) -> JobTask {
        JobTask(Some(tokio::spawn(poll_fn(move |context| carrying.poll(context)))))
    }

    /// Waits until the job and its body have ended. Pending for ever after that.
    pub(in crate::http) fn poll(&mut self, context: &mut Context<'_>) -> Poll<JobEnd> {
        let Some(task) = &mut self.0 else { return Poll::Pending };
        let finish = ready!(Pin::new(task).poll(context));
        self.0 = None;
        Poll::Ready(finish.unwrap_or_else(|failure| JobEnd {
            outcome: Err(Fault::Host(anyhow::Error::from(failure).context("the task of a job failed"))),
            trailers: None,
        }))
    }

    /// Ends the job, and waits until it has gone.
    pub(in crate::http) async fn abandon(mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            // It was ended or has ended: both are what is wanted.
            let _finish = task.await;
        }
    }

    /// Ends a job that runs in this task, and waits until it has gone. Its body must not wait for a reader.
    pub(in crate::http) async fn abandon_outlived(mut self, task: &AbortHandle) {
        task.abort();
        let _finish = poll_fn(|context| self.poll(context)).await;
    }

    /// Lets the job go on to its end, within its limits. The engine has it in its table, where a shutdown
    /// waits for it and ends it.
    pub(in crate::http) fn detach(mut self) {
        self.0 = None;
    }
}

/// Runs a job in a task of its own, which goes on when the returned run is dropped; how it ends is then told to
/// `unheard`. The engine has the job in its table, where its limits and a shutdown end it.
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
    /// The end of a job that has ended well, and gives no body by itself.
    pub(in crate::http) fn well() -> JobEnd {
        JobEnd { outcome: Ok(Status::OK), trailers: None }
    }
}

impl JobDriver {
    /// Begins with a run, or without one if the job has ended well by now.
    pub(in crate::http) fn new(run: Option<Run>, stop: Stop) -> JobDriver {
        let run = run.map_or(RunState::Ended(Ok(Status::OK)), RunState::Run);
        JobDriver { run, body: None, rest: Bytes::new(), trailers: None, stop }
    }

    /// Reports whether the job has not ended.
    pub(in crate::http) fn is_running(&self) -> bool {
        matches!(self.run, RunState::Run(_))
    }

    /// Has a body carried into a pipe.
    pub(in crate::http) fn with(self, body: ResponseBody, writer: PipeWriter) -> JobDriver {
        JobDriver { body: Some((body, writer)), ..self }
    }

    /// Lets the job go on, and carries what it has given meanwhile.
    pub(in crate::http) fn poll(&mut self, context: &mut Context<'_>) -> Poll<JobEnd> {
        if let RunState::Run(run) = &mut self.run
            && let Poll::Ready(outcome) = run.as_mut().poll(context)
        {
            self.run = RunState::Ended(outcome);
        }
        let carried = match &self.run {
            // Nothing of it is sent any more.
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

    /// Carries what is here of the body into the pipe; ready when all of it was carried.
    fn carry(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            let Some((body, writer)) = &mut self.body else { return Poll::Ready(Ok(())) };
            if !self.rest.is_empty() {
                match ready!(writer.poll_room(context)) {
                    Ok(room) => {
                        let fits = room.min(self.rest.len());
                        // A reader that has gone has all it wants: what still comes is dropped.
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

    /// Reports whether a job that has ended left its body without an end.
    fn is_cut(&self) -> bool {
        self.rest.is_empty() && matches!(self.run, RunState::Ended(_))
    }

    /// Ends a job whose body broke off, and says why it did: the job's own end says more than that it left
    /// its body behind.
    fn reason(&mut self, fault: Fault, context: &mut Context<'_>) -> Fault {
        let outcome = match &mut self.run {
            RunState::Ended(outcome) => mem::replace(outcome, Ok(Status::OK)),
            RunState::Run(run) => match run.as_mut().poll(context) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    // Before it is dropped: how it ends is no news then.
                    mark_invalid(&self.stop, &fault);
                    Ok(Status::OK)
                }
            },
        };
        self.run = RunState::Ended(Ok(Status::OK));
        outcome.err().unwrap_or(fault)
    }
}

/// Waits until the job has ended, which is returned, or the first byte of its body is here, but no longer than a head
/// of this status is held back.
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

/// Notes on a job that is about to be dropped, since what it answers is no answer or too long, that this
/// is why: it counts as that, and not as one whose client has left as well.
pub(in crate::http) fn mark_invalid(stop: &Stop, fault: &Fault) {
    if let Fault::BadAnswer(_) | Fault::OutputTooLarge(_) = fault {
        stop.raise(StopReason::NoAnswer);
    }
}
