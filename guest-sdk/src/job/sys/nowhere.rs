//! The implementation without a daemon, for a handler's own tests.

use super::Ready;
use crate::job::{JobError, JobErrorKind, JobStatus};

/// A job that cannot exist.
pub(in crate::job) enum Handle {}

impl Handle {
    pub(in crate::job) fn open(name: &str) -> Result<Handle, JobError> {
        let message = match cfg!(target_os = "wasi") {
            true => format!("{name}: components call jobs with the feature `jobs` of portcullis-guest"),
            false => format!("{name}: jobs are called inside of the daemon only"),
        };
        Err(JobError::new(JobErrorKind::Unavailable, message))
    }

    pub(in crate::job) fn arg(&self, _value: &str) -> Result<(), JobError> {
        match *self {}
    }

    pub(in crate::job) fn env(&self, _name: &str, _value: &str) -> Result<(), JobError> {
        match *self {}
    }

    pub(in crate::job) fn start(&self) -> Result<(), JobError> {
        match *self {}
    }

    pub(in crate::job) fn write(&self, _bytes: &[u8]) -> Result<usize, JobError> {
        match *self {}
    }

    pub(in crate::job) fn close(&self) {
        match *self {}
    }

    pub(in crate::job) fn read(&self, _buffer: &mut [u8]) -> Result<usize, JobError> {
        match *self {}
    }

    pub(in crate::job) fn poll(&self) -> Result<Ready, JobError> {
        match *self {}
    }

    pub(in crate::job) fn wait(&self) -> Result<JobStatus, JobError> {
        match *self {}
    }
}
