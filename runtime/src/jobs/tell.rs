//! How a built-in job says what came of it: on stdout with status 0, or on stderr with status 1.

use crate::job::{Fault, Job, Status};

/// Ends a job with what it has to tell.
///
/// # Errors
/// [`Fault::ReaderGone`]: whoever asked has left.
pub(super) async fn tell(job: &Job, outcome: anyhow::Result<String>) -> Result<Status, Fault> {
    let (status, to, mut text) = match outcome {
        Ok(text) => (Status::OK, &job.stdout, text),
        Err(error) => (Status::ERROR, &job.stderr, format!("{error:#}")),
    };
    text.push('\n');
    to.write_all(text).await.map_err(|_| Fault::ReaderGone)?;
    Ok(status)
}
