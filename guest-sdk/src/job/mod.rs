//! Calls from a handler to other handlers of the same daemon, each in its own sandbox.
//!
//! Floors, lowest first: `error`; `status`; `sys`; `running`; the call in this file.

mod error;
mod running;
mod status;
mod sys;

pub use error::{JobError, JobErrorKind};
pub use running::Running;
pub use status::{JobOutput, JobStatus};

use std::fmt;
use std::io::{self, Read, Write};

/// Prepares a job of another handler, which `handler.NAME.calls` must grant.
///
/// ```no_run
/// use portcullis_guest::{Error, Request, Response, job};
///
/// fn thumbnail(request: Request) -> Result<Response, Error> {
///     let image = request.into_body();
///     let thumbnail = job("resize").arg("80x80").env("FORMAT", "png").stdin(image).output()?;
///     thumbnail.status.ok()?;
///     Ok(Response::bytes("image/png", thumbnail.stdout))
/// }
/// ```
///
/// On wasm32-wasip2 this requires the feature `jobs`; on wasm32-wasip1 it is always available.
///
/// The job runs beside this one, within the limits of its own handler. Its version comes from the
/// configuration with which this request was routed. It ends with this process at the latest.
pub fn job<'io>(name: impl Into<String>) -> Job<'io> {
    Job { name: name.into(), args: Vec::new(), env: Vec::new(), stdin: None }
}

/// A job that is being prepared. Nothing happens before it is started.
#[must_use = "a job runs once it is started: call `run`, `output` or `start`"]
pub struct Job<'io> {
    name: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Option<Box<dyn Read + 'io>>,
}

impl<'io> Job<'io> {
    /// Adds an argument, after those that are configured for the handler.
    pub fn arg(mut self, arg: impl Into<String>) -> Job<'io> {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Job<'io> {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable. A variable that is configured for the handler keeps its configured value.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Job<'io> {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the input of the job: a slice of bytes, a [`Body`](crate::Body), a file. It is read as
    /// the job reads its stdin. Otherwise the job's stdin is what is written to [`Running`], or
    /// empty.
    pub fn stdin(mut self, stdin: impl Read + 'io) -> Job<'io> {
        self.stdin = Some(Box::new(stdin));
        self
    }

    /// Runs the job to its end. Its stdout is discarded.
    ///
    /// # Errors
    /// The job did not run, or its stdin could not be read.
    pub fn run(self) -> Result<JobStatus, JobError> {
        self.run_to(&mut io::sink())
    }

    /// Runs the job to its end, and copies its stdout to `stdout` meanwhile.
    ///
    /// # Errors
    /// The job did not run, its stdin could not be read, or `stdout` failed.
    pub fn run_to(self, stdout: &mut impl Write) -> Result<JobStatus, JobError> {
        let mut running = self.start()?;
        running.close();
        io::copy(&mut running, stdout).map_err(JobError::from)?;
        running.wait()
    }

    /// Runs the job to its end and collects its stdout.
    ///
    /// # Errors
    /// The job did not run, or its stdin could not be read.
    pub fn output(self) -> Result<JobOutput, JobError> {
        let mut stdout = Vec::new();
        let status = self.run_to(&mut stdout)?;
        Ok(JobOutput { status, stdout })
    }

    /// Starts the job. Its stdin and stdout can be used while it runs.
    ///
    /// # Errors
    /// The job may not be called. The error says why, and what to change.
    pub fn start(self) -> Result<Running<'io>, JobError> {
        let handle = sys::Handle::open(&self.name)?;
        self.args.iter().try_for_each(|arg| handle.arg(arg))?;
        self.env.iter().try_for_each(|(name, value)| handle.env(name, value))?;
        handle.start()?;
        Ok(Running::new(handle, self.stdin))
    }
}

/// Shows the job as a call: `resize(80x80)`.
impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name, self.args.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_of_the_daemon_there_are_no_jobs() {
        let error = job("resize").arg("80x80").stdin(&b"image"[..]).output().unwrap_err();
        assert_eq!(error.kind(), JobErrorKind::Unavailable);
    }
}
