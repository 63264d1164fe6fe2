//! `portcullis_job_v1`, the daemon's functions for core modules (wasm32-wasip1).

use super::Ready;
use crate::job::{JobError, JobStatus};

/// Returned by a function that failed.
const FAILED: i32 = -1;

/// Added to the exit status of a job that was ended by a fault.
const FAULT: i32 = 256;

/// The bit in the result of `poll` for stdout that can be read.
const READ: i32 = 1;

/// The size of the message buffer in bytes. No message is longer.
const LONGEST: usize = 1024;

mod import {
    #[link(wasm_import_module = "portcullis_job_v1")]
    unsafe extern "C" {
        pub(super) fn job(name: *const u8, size: usize) -> i32;
        pub(super) fn arg(job: i32, value: *const u8, size: usize) -> i32;
        pub(super) fn env(
            job: i32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> i32;
        pub(super) safe fn start(job: i32) -> i32;
        pub(super) fn write(job: i32, bytes: *const u8, size: usize) -> i32;
        pub(super) safe fn close(job: i32) -> i32;
        pub(super) fn read(job: i32, buffer: *mut u8, size: usize) -> i32;
        pub(super) safe fn poll(job: i32) -> i32;
        pub(super) safe fn wait(job: i32) -> i32;
        pub(super) safe fn drop(job: i32) -> i32;
        pub(super) fn error(buffer: *mut u8, size: usize) -> i32;
    }
}

/// A job by its number. Dropping it ends the job.
pub(in crate::job) struct Handle(i32);

impl Handle {
    pub(in crate::job) fn open(name: &str) -> Result<Handle, JobError> {
        // SAFETY: the pointer and the length are those of one string, which is only read.
        let job = unsafe { import::job(name.as_ptr(), name.len()) };
        checked(job).map(Handle)
    }

    pub(in crate::job) fn arg(&self, value: &str) -> Result<(), JobError> {
        // SAFETY: the pointer and the length are those of one string, which is only read.
        let outcome = unsafe { import::arg(self.0, value.as_ptr(), value.len()) };
        checked(outcome).map(drop)
    }

    pub(in crate::job) fn env(&self, name: &str, value: &str) -> Result<(), JobError> {
        // SAFETY: each pointer and length are those of one string, which is only read.
        let outcome = unsafe { import::env(self.0, name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
        checked(outcome).map(drop)
    }

    pub(in crate::job) fn start(&self) -> Result<(), JobError> {
        checked(import::start(self.0)).map(drop)
    }

    pub(in crate::job) fn write(&self, bytes: &[u8]) -> Result<usize, JobError> {
        // SAFETY: the pointer and the length are those of one slice, which is only read.
        let written = unsafe { import::write(self.0, bytes.as_ptr(), bytes.len()) };
        checked(written).map(size)
    }

    pub(in crate::job) fn close(&self) {
        // A job that was started has a stdin, open or closed. Closing it cannot fail.
        let _closed = import::close(self.0);
    }

    pub(in crate::job) fn read(&self, buffer: &mut [u8]) -> Result<usize, JobError> {
        // SAFETY: the pointer and the length are those of one slice, which this function borrows
        // exclusively.
        let read = unsafe { import::read(self.0, buffer.as_mut_ptr(), buffer.len()) };
        checked(read).map(size)
    }

    pub(in crate::job) fn poll(&self) -> Result<Ready, JobError> {
        checked(import::poll(self.0)).map(|sides| Ready { read: sides & READ != 0 })
    }

    pub(in crate::job) fn wait(&self) -> Result<JobStatus, JobError> {
        let code = checked(import::wait(self.0))?;
        let [status, ..] = code.to_le_bytes();
        Ok(JobStatus::new(status, (code >= FAULT).then(last_error)))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        import::drop(self.0);
    }
}

fn checked(outcome: i32) -> Result<i32, JobError> {
    if outcome == FAILED { Err(last_error()) } else { Ok(outcome) }
}

/// Converts a number that is not negative to a size.
fn size(number: i32) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// Returns why the last function failed: `CODE: MESSAGE`.
fn last_error() -> JobError {
    let mut text = vec![0; LONGEST];
    // SAFETY: the pointer and the length are those of one buffer, which this function owns.
    let length = unsafe { import::error(text.as_mut_ptr(), text.len()) };
    text.truncate(size(length));
    JobError::parse(&String::from_utf8_lossy(&text))
}
