//! Why a job did not run, or did not end well.

use std::fmt;
use std::io;

/// A job that did not run, or did not end well. Its text says what to change.
pub struct JobError {
    kind: JobErrorKind,
    message: String,
}

/// What went wrong with a job.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum JobErrorKind {
    /// `handler.NAME.calls` does not grant it.
    NotGranted,
    /// There is no such handler.
    NotFound,
    /// Calls are nested as deep as they may be: most likely a loop.
    TooDeep,
    /// This request has started as many jobs as it may, or holds on to as many.
    TooMany,
    /// Every slot is held by the jobs that wait for this one.
    Deadlock,
    /// Every slot is taken, and no line moved: try again later.
    Busy,
    /// The daemon is being shut down.
    Draining,
    /// Arguments and variables are longer than they may be together.
    TooLong,
    /// An argument or variable that no process can be given.
    Malformed,
    /// The job reads no more of its stdin.
    NotRead,
    /// The job was stopped at its `limits.time`.
    TimeLimit,
    /// The job was stopped at its `limits.cpu`.
    CpuLimit,
    /// The job ran into its `limits.memory`.
    MemoryLimit,
    /// The job was sent more than its `limits.body`.
    BodyLimit,
    /// The job wrote more than its `limits.output`.
    OutputLimit,
    /// The job trapped.
    Trapped,
    /// An operator ended the job.
    Killed,
    /// The job ended with an exit status other than 0.
    Exited,
    /// What the job was to read or to be read by failed.
    Io,
    /// This program does not run in the daemon.
    Unavailable,
    /// Something that this version of the SDK does not know.
    Other,
}

impl JobError {
    pub(super) fn new(kind: JobErrorKind, message: impl Into<String>) -> JobError {
        JobError { kind, message: message.into() }
    }

    /// Makes an error of one of the daemon's words and its message.
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

    /// Says what went wrong.
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

/// An error of ours that went through a stream comes out as it was.
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
