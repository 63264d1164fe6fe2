//! A job until its end: the one place that waits for what it writes, and for that end.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::coop;

use crate::job::PipeReader;

/// A run of a job, or the end that it came to.
pub(in crate::http) enum JobRun<R: Future> {
    Running(R),
    /// `None` once the end was passed on.
    Exited(Option<R::Output>),
}

/// What a job does next.
pub(in crate::http) enum JobEvent<T, E> {
    /// It has output.
    Output(T),
    /// It has ended. Output that it wrote before may follow.
    Exited(E),
}

impl<R: Future + Unpin> JobRun<R> {
    /// Polls the job, and keeps its end for [`JobRun::poll_next`].
    pub(in crate::http) fn advance(&mut self, context: &mut Context<'_>) {
        if let JobRun::Running(run) = self
            && let Poll::Ready(end) = Pin::new(run).poll(context)
        {
            *self = JobRun::Exited(Some(end));
        }
    }

    /// Polls the job, else its output, else waits. Returns `None` after the end and the last output.
    ///
    /// The end comes before output that the job wrote earlier: if the job has failed, that output is not its whole
    /// output. `output` is `None` once the job has closed it. Such a job goes on, and wakes this task when it ends.
    pub(in crate::http) fn poll_next<T>(
        &mut self,
        context: &mut Context<'_>,
        output: impl FnOnce(&mut Context<'_>) -> Poll<Option<T>>,
    ) -> Poll<Option<JobEvent<T, R::Output>>> {
        self.advance(context);
        if let Some(end) = self.take_end() {
            return Poll::Ready(Some(JobEvent::Exited(end)));
        }
        match output(context) {
            Poll::Ready(Some(output)) => Poll::Ready(Some(JobEvent::Output(output))),
            // All output was here when the job ended.
            Poll::Ready(None) if !self.is_running() => Poll::Ready(None),
            Poll::Pending if !self.is_running() && !has_to_yield(context) => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Does the same with the job's stdout. The bytes stay in the pipe.
    pub(in crate::http) fn poll_written(
        &mut self,
        stdout: &mut PipeReader,
        context: &mut Context<'_>,
    ) -> Poll<Option<JobEvent<(), R::Output>>> {
        self.poll_next(context, |context| {
            stdout.poll_filled(context).map(|is_filled| is_filled.then_some(()))
        })
    }

    /// Waits for the next event with the job's stdout.
    pub(in crate::http) async fn written(
        &mut self,
        stdout: &mut PipeReader,
    ) -> Option<JobEvent<(), R::Output>> {
        poll_fn(|context| self.poll_written(stdout, context)).await
    }

    /// Waits for the end, whatever becomes of the output.
    pub(in crate::http) async fn end(mut self) -> R::Output {
        poll_fn(|context| {
            self.advance(context);
            self.take_end().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    pub(in crate::http) fn is_running(&self) -> bool {
        matches!(self, JobRun::Running(_))
    }

    /// Takes the end, if the job has ended and its end was not passed on.
    pub(in crate::http) fn take_end(&mut self) -> Option<R::Output> {
        match self {
            JobRun::Running(_) => None,
            JobRun::Exited(end) => end.take(),
        }
    }

    /// Takes the job if it runs.
    pub(in crate::http) fn take_running(&mut self) -> Option<R> {
        match mem::replace(self, JobRun::Exited(None)) {
            JobRun::Running(run) => Some(run),
            ended @ JobRun::Exited(_) => {
                *self = ended;
                None
            }
        }
    }
}

/// Reports whether the task has used up its budget, and wakes it in that case. A channel of tokio is then pending
/// whatever it holds, so the output of a job that has ended may be here all the same.
pub(super) fn has_to_yield(context: &Context<'_>) -> bool {
    let is_spent = !coop::has_budget_remaining();
    if is_spent {
        context.waker().wake_by_ref();
    }
    is_spent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Destination as _, pipe};
    use bytes::Bytes;
    use futures_util::poll;
    use std::pin::pin;
    use tokio::sync::{mpsc, oneshot};

    /// What the next event is, in a word.
    async fn next(run: &mut JobRun<oneshot::Receiver<u8>>, stdout: &mut PipeReader) -> Option<&'static str> {
        match poll!(pin!(run.written(stdout))) {
            Poll::Pending => Some("waits"),
            Poll::Ready(None) => None,
            Poll::Ready(Some(JobEvent::Output(()))) => Some("output"),
            Poll::Ready(Some(JobEvent::Exited(_))) => Some("exited"),
        }
    }

    #[tokio::test]
    async fn the_end_comes_before_what_was_written_and_once() {
        let ((writer, mut stdout), (end, run)) = (pipe(9), oneshot::channel());
        let mut run = JobRun::Running(run);
        assert_eq!(next(&mut run, &mut stdout).await, Some("waits"));
        writer.write(&Bytes::from_static(b"x")).unwrap();
        assert_eq!(next(&mut run, &mut stdout).await, Some("output"));

        end.send(1).unwrap();

        assert_eq!(next(&mut run, &mut stdout).await, Some("exited"));
        assert_eq!(next(&mut run, &mut stdout).await, Some("output"));
        stdout.take();
        // The writer may still be there, as that of a clone: the job has ended all the same.
        assert_eq!(next(&mut run, &mut stdout).await, None);
    }

    #[tokio::test]
    async fn a_job_that_has_closed_its_stdout_is_waited_for_and_wakes_us_when_it_ends() {
        let ((writer, mut stdout), (end, run)) = (pipe(9), oneshot::channel());
        let mut run = JobRun::Running(run);
        writer.close();
        assert_eq!(next(&mut run, &mut stdout).await, Some("waits"));

        let ended = async { end.send(1).unwrap() };
        let (event, ()) = tokio::join!(run.written(&mut stdout), ended);

        assert!(matches!(event, Some(JobEvent::Exited(Ok(1)))));
        assert_eq!(next(&mut run, &mut stdout).await, None);
    }

    #[tokio::test]
    async fn output_of_an_ended_job_is_found_by_a_task_that_has_used_up_its_budget() {
        let (sender, mut given) = oneshot::channel();
        sender.send(7).unwrap();
        let mut run: JobRun<oneshot::Receiver<u8>> = JobRun::Exited(None);
        let mut polls = 0;

        let event = poll_fn(|context| {
            if polls == 0 {
                spend_budget(context);
            }
            polls += 1;
            run.poll_next(context, |context| Pin::new(&mut given).poll(context).map(Result::ok))
        })
        .await;

        assert!(matches!(event, Some(JobEvent::Output(7))) && polls > 1);
    }

    /// Uses up what the task may do before it has to yield.
    fn spend_budget(context: &mut Context<'_>) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        (0..1000).for_each(|number| sender.send(number).unwrap());
        while receiver.poll_recv(context).is_ready() {}
    }
}
