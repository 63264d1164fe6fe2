//! Why a job did not run, or failed.

use std::io;

use crate::code_error::code_error;

code_error! {
    /// A job that did not run, or failed. The text says what to change.
    JobError

    /// The kind of a failure.
    JobErrorKind {
        /// `handler.NAME.calls` does not grant the call.
        NotGranted = "not_granted",
        /// The handler does not exist.
        NotFound = "job_not_found",
        /// Calls are nested as deep as allowed: most likely a loop.
        TooDeep = "too_deep",
        /// This request has started, or holds, as many jobs as allowed.
        TooMany = "too_many",
        /// Every slot is held by jobs that wait for this one.
        Deadlock = "deadlock",
        /// Every slot is taken, and none became free in time: try again later.
        Busy = "queue_limit" | "queue_time_limit",
        /// The daemon is shutting down.
        Draining = "draining",
        /// Arguments and variables together are too long.
        TooLong = "too_long",
        /// An argument or variable that a process cannot have.
        Malformed = "malformed",
        /// The job has closed its stdin.
        NotRead = "not_read",
        /// The job reached its `limits.time`.
        TimeLimit = "time_limit",
        /// The job reached its `limits.cpu`.
        CpuLimit = "cpu_limit",
        /// The job reached its `limits.memory`.
        MemoryLimit = "memory_limit",
        /// The job was sent more than its `limits.body`.
        BodyLimit = "body_limit",
        /// The job wrote more than its `limits.output`.
        OutputLimit = "output_limit",
        /// The job trapped.
        Trapped = "trapped",
        /// An operator ended the job.
        Killed = "killed" | "shutdown",
        /// The job had an exit status other than 0.
        Exited,
        /// The input for the job, or the destination of its output, failed.
        Io,
        /// This program does not run inside the daemon.
        Unavailable,
    }
}

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
