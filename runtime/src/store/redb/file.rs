//! The file below redb, read so that a page which is not in memory does not stop an async worker.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Bound;

use redb::StorageBackend;
use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError};
use rustix::io::ReadWriteFlags;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// A file whose cold pages are read aside.
///
/// A page that the kernel has in memory is copied at once (RWF_NOWAIT, preadv2(2)): one microsecond. A page that has
/// to come from the disk takes a hundred and more, so the worker first hands its other tasks to another thread.
/// A thread hop for every read would cost more than most reads.
#[derive(Debug)]
pub(super) struct PageFile {
    backend: FileBackend,
    file: File,
}

impl PageFile {
    pub(super) fn new(file: File) -> Result<PageFile, DatabaseError> {
        let again = file.try_clone().map_err(DatabaseError::from)?;
        Ok(PageFile { backend: FileBackend::new(file)?, file: again })
    }

    /// Reads the bytes if all of them are in memory.
    fn read_warm(&self, offset: u64, out: &mut [u8]) -> bool {
        let length = out.len();
        let mut slices = [IoSliceMut::new(out)];
        let read = rustix::io::preadv2(&self.file, &mut slices, offset, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|read| read == length)
    }
}

/// Whether this thread is a worker that has other tasks.
fn is_worker() -> bool {
    Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
}

impl StorageBackend for PageFile {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.read_warm(offset, out) {
            return Ok(());
        }
        match is_worker() {
            true => block_in_place(|| self.backend.read(offset, out)),
            false => self.backend.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}
