//! `portcullis:job/jobs`, the daemon's interface for components (wasm32-wasip2).

use self::bindings::portcullis::job::jobs::{self, Sides};
use super::Ready;
use crate::job::{JobError, JobStatus};

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "made by a macro")]
    wit_bindgen::generate!({ path: "wit", world: "calls" });
}

/// A job. Dropping it ends the job.
pub(in crate::job) struct Handle(jobs::Job);

impl Handle {
    pub(in crate::job) fn open(name: &str) -> Result<Handle, JobError> {
        Ok(Handle(jobs::Job::open(name)?))
    }

    pub(in crate::job) fn arg(&self, value: &str) -> Result<(), JobError> {
        Ok(self.0.arg(value)?)
    }

    pub(in crate::job) fn env(&self, name: &str, value: &str) -> Result<(), JobError> {
        Ok(self.0.env(name, value)?)
    }

    pub(in crate::job) fn start(&self) -> Result<(), JobError> {
        Ok(self.0.start()?)
    }

    pub(in crate::job) fn write(&self, bytes: &[u8]) -> Result<usize, JobError> {
        Ok(size(self.0.write(bytes)?))
    }

    pub(in crate::job) fn close(&self) {
        // A job that was started has a stdin, open or closed. Closing it cannot fail.
        let _closed = self.0.close();
    }

    pub(in crate::job) fn read(&self, buffer: &mut [u8]) -> Result<usize, JobError> {
        let bytes = self.0.read(u32::try_from(buffer.len()).unwrap_or(u32::MAX))?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    pub(in crate::job) fn poll(&self) -> Result<Ready, JobError> {
        Ok(Ready { read: self.0.poll()?.contains(Sides::READ) })
    }

    pub(in crate::job) fn wait(&self) -> Result<JobStatus, JobError> {
        let end = self.0.wait()?;
        Ok(JobStatus::new(end.status, end.fault.map(JobError::from)))
    }
}

impl From<jobs::Failure> for JobError {
    fn from(failure: jobs::Failure) -> JobError {
        JobError::of(&failure.code, failure.message)
    }
}

/// Converts a number from the daemon to a size.
fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or_default()
}
