//! The outcome of a job.

use super::{JobError, JobErrorKind};

/// How a job has ended.
#[derive(Debug)]
pub struct JobStatus {
    code: u8,
    fault: Option<JobError>,
}

/// How a job has ended, and its stdout.
#[derive(Debug)]
pub struct JobOutput {
    /// How it ended.
    pub status: JobStatus,
    /// Its stdout.
    pub stdout: Vec<u8>,
}

impl JobStatus {
    #[cfg_attr(
        not(all(target_os = "wasi", any(target_env = "p1", feature = "jobs"))),
        allow(dead_code, reason = "there is no daemon to end one")
    )]
    pub(super) fn new(code: u8, fault: Option<JobError>) -> JobStatus {
        JobStatus { code, fault }
    }

    /// Returns the exit status as a shell reports it: 124 after a time limit, 134 after a trap.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Reports whether the job succeeded.
    pub fn is_ok(&self) -> bool {
        self.code == 0 && self.fault.is_none()
    }

    /// Returns what ended the job, if it did not exit by itself: a limit, a trap, an operator.
    pub fn fault(&self) -> Option<&JobError> {
        self.fault.as_ref()
    }

    /// Converts every outcome but success into an error.
    ///
    /// # Errors
    /// The fault that ended the job, or [`JobErrorKind::Exited`].
    pub fn ok(self) -> Result<(), JobError> {
        match (self.fault, self.code) {
            (Some(fault), _) => Err(fault),
            (None, 0) => Ok(()),
            (None, code) => {
                Err(JobError::new(JobErrorKind::Exited, format!("the job ended with exit status {code}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_no_error() {
        assert!(JobStatus::new(0, None).ok().is_ok());
        assert_eq!(JobStatus::new(3, None).ok().unwrap_err().kind(), JobErrorKind::Exited);
        let fault = JobError::of("trapped", "resize: trapped: unreachable");
        assert_eq!(JobStatus::new(134, Some(fault)).ok().unwrap_err().kind(), JobErrorKind::Trapped);
    }
}
