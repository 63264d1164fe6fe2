//! How a built-in job reports its outcome: on stdout with status 0, or on stderr with status 1.

use serde::Serialize;

use crate::job::{Fault, Job, Status};

/// Ends a job with its reply, as JSON.
///
/// # Errors
/// [`Fault::ReaderGone`]: the reader has left.
pub(super) async fn reply<T: Serialize>(job: &Job, outcome: anyhow::Result<T>) -> Result<Status, Fault> {
    tell(job, outcome.and_then(|reply| json(&reply))).await
}

/// Writes a reply as JSON.
///
/// # Errors
/// The value cannot be JSON; every type of [`api`](super::api) can.
pub(super) fn json<T: Serialize>(reply: &T) -> anyhow::Result<String> {
    Ok(serde_json::to_string(reply)?)
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
