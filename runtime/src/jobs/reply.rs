//! How a built-in job reports its outcome: on stdout with status 0, or on stderr with status 1.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;

use super::api::Command;
use crate::engine::{Engine, NativeJob};
use crate::job::{Fault, Job, Run, Status};

/// A built-in job that does nothing but reply to its command.
///
/// It replies with the type that the verb of the command reads.
pub trait ReplyJob: Send + Sync + 'static {
    /// The command that the job takes.
    type Command: Command;

    /// Makes the reply.
    ///
    /// # Errors
    /// The job refuses its command, or fails.
    fn answer(
        &self,
        engine: &Arc<Engine>,
        job: &Job,
    ) -> impl Future<Output = anyhow::Result<<Self::Command as Command>::Reply>> + Send;
}

impl<T: ReplyJob> NativeJob for T
where
    <T::Command as Command>::Reply: Serialize + Send,
{
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let outcome = self.answer(&engine, &job).await;
            reply::<T::Command>(&job, outcome).await
        })
    }
}

/// Ends a job with the reply to its command, as JSON.
///
/// # Errors
/// [`Fault::ReaderGone`]: the reader has left.
pub(super) async fn reply<C: Command>(job: &Job, outcome: anyhow::Result<C::Reply>) -> Result<Status, Fault>
where
    C::Reply: Serialize,
{
    tell(job, outcome.and_then(|reply| json(&reply))).await
}

/// Writes a reply as JSON.
///
/// # Errors
/// The value cannot be JSON; every type of [`api`](super::api) can.
pub(super) fn json<T: Serialize>(reply: &T) -> anyhow::Result<String> {
    Ok(serde_json::to_string(reply)?)
}

/// Writes an object as a line of JSON.
pub(super) fn line(object: &impl Serialize) -> String {
    // Every type of the API can be written as JSON.
    json(object).map(|line| line + "\n").unwrap_or_default()
}

/// Ends a job with a text.
///
/// # Errors
/// [`Fault::ReaderGone`]: the reader has left.
pub(super) async fn tell(job: &Job, outcome: anyhow::Result<String>) -> Result<Status, Fault> {
    let (status, to, mut text) = match outcome {
        Ok(text) => (Status::OK, &job.stdout, text),
        Err(error) => (Status::ERROR, &job.stderr, format!("{error:#}")),
    };
    text.push('\n');
    to.write_all(text).await.map_err(|_| Fault::ReaderGone)?;
    Ok(status)
}
