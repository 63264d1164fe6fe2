//! Why a job did not run, or failed.

use std::fmt;
use std::io;

/// A job that did not run, or failed. The text says what to change.
pub struct JobError {
    kind: JobErrorKind,
    message: String,
}

/// The kind of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum JobErrorKind {
    /// `handler.NAME.calls` does not grant the call.
    NotGranted,
    /// The handler does not exist.
    NotFound,
    /// Calls are nested as deep as allowed: most likely a loop.
    TooDeep,
    /// This request has started, or holds, as many jobs as allowed.
    TooMany,
    /// Every slot is held by jobs that wait for this one.
    Deadlock,
    /// Every slot is taken, and none became free in time: try again later.
    Busy,
    /// The daemon is shutting down.
    Draining,
    /// Arguments and variables together are too long.
    TooLong,
    /// An argument or variable that a process cannot have.
    Malformed,
    /// The job has closed its stdin.
    NotRead,
    /// The job reached its `limits.time`.
    TimeLimit,
    /// The job reached its `limits.cpu`.
    CpuLimit,
    /// The job reached its `limits.memory`.
    MemoryLimit,
    /// The job was sent more than its `limits.body`.
    BodyLimit,
    /// The job wrote more than its `limits.output`.
    OutputLimit,
    /// The job trapped.
    Trapped,
    /// An operator ended the job.
    Killed,
    /// The job had an exit status other than 0.
    Exited,
    /// The input for the job, or the destination of its output, failed.
    Io,
    /// This program does not run inside the daemon.
    Unavailable,
    /// A failure that this version of the SDK does not know.
    Other,
}

impl JobError {
    pub(super) fn new(kind: JobErrorKind, message: impl Into<String>) -> JobError {
        JobError { kind, message: message.into() }
    }

    /// Makes an error from a code of the daemon and its message.
    #[cfg_attr(
        not(all(target_os = "wasi", any(target_env = "p1", feature = "jobs"))),
        allow(dead_code, reason = "there is no daemon to say it")
    )]
    pub(super) fn of(code: &str, message: impl Into<String>) -> JobError {
        let kind = match code {
            "not_granted" => JobErrorKind::NotGranted,
            "job_not_found" => JobErrorKind::NotFound,
            "too_deep" => JobErrorKind::TooDeep,
            "too_many" => JobErrorKind::TooMany,
            "deadlock" => JobErrorKind::Deadlock,
            "queue_limit" | "queue_time_limit" => JobErrorKind::Busy,
            "draining" => JobErrorKind::Draining,
            "too_long" => JobErrorKind::TooLong,
            "malformed" => JobErrorKind::Malformed,
            "not_read" => JobErrorKind::NotRead,
            "time_limit" => JobErrorKind::TimeLimit,
            "cpu_limit" => JobErrorKind::CpuLimit,
            "memory_limit" => JobErrorKind::MemoryLimit,
            "body_limit" => JobErrorKind::BodyLimit,
            "output_limit" => JobErrorKind::OutputLimit,
            "trapped" => JobErrorKind::Trapped,
            "killed" | "shutdown" => JobErrorKind::Killed,
            _ => JobErrorKind::Other,
        };
        JobError { kind, message: message.into() }
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> JobErrorKind {
        self.kind
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl std::error::Error for JobError {}

/// A `JobError` that was wrapped in an `io::Error` is unwrapped.
impl From<io::Error> for JobError {
    fn from(error: io::Error) -> JobError {
        error
            .downcast::<JobError>()
            .unwrap_or_else(|error| JobError::new(JobErrorKind::Io, error.to_string()))
    }
}

impl From<JobError> for io::Error {
    fn from(error: JobError) -> io::Error {
        let kind = match error.kind {
            JobErrorKind::NotRead => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_a_stream() {
        let error = JobError::of("not_read", "resize reads no more of its stdin");
        let error = JobError::from(io::Error::from(error));
        assert_eq!(format!("{error:?}"), "NotRead: resize reads no more of its stdin");
    }
}
