//! An open regular file, and its state.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use rustix::fs::{Stat, fstat};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct OpenedFile {
    fd: OwnedFd,
    /// Its state when it was opened.
    pub state: FileState,
    /// Whether a read of what is in the page cache returns at once.
    is_local: bool,
}

/// The length and the times of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileState {
    /// The length in bytes.
    pub length: u64,
    /// When its content was changed, since 1970.
    pub modified: Duration,
    /// When its content, its name or its permissions were changed, since 1970.
    pub changed: Duration,
}

impl FileState {
    pub(super) fn of(stat: &Stat) -> FileState {
        let time = |seconds: i64, nanoseconds: Option<u32>| {
            Duration::new(u64::try_from(seconds).unwrap_or_default(), nanoseconds.unwrap_or_default())
        };
        FileState {
            length: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: time(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).ok()),
            changed: time(stat.st_ctime, u32::try_from(stat.st_ctime_nsec).ok()),
        }
    }

    /// Returns how long ago the content was changed. `None` if that lies in the future.
    pub fn age(&self) -> Option<Duration> {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.checked_sub(self.modified)
    }
}

impl OpenedFile {
    pub(super) fn new(fd: OwnedFd, stat: &Stat, is_local: bool) -> OpenedFile {
        OpenedFile { fd, state: FileState::of(stat), is_local }
    }

    /// Reports whether the content has changed since the file was opened.
    pub fn has_changed(&self) -> bool {
        fstat(&self.fd).map_or(true, |stat| {
            let FileState { length, modified, .. } = FileState::of(&stat);
            (length, modified) != (self.state.length, self.state.modified)
        })
    }

    /// Reads up to `length` bytes from `offset` on, if they are in the page cache of a local file system. Returns `None`
    /// if the read could wait. Never blocks.
    ///
    /// # Errors
    /// The file cannot be read, or ends before `offset`.
    pub fn read_now(&self, offset: u64, length: usize) -> Option<Result<Bytes, Errno>> {
        if !self.is_local {
            return None;
        }
        let mut buffer = BytesMut::zeroed(length);
        match preadv2(&self.fd, &mut [IoSliceMut::new(&mut buffer)], offset, ReadWriteFlags::NOWAIT) {
            Ok(0) if length > 0 => Some(Err(Errno::NODATA)),
            Ok(read) => {
                buffer.truncate(read);
                Some(Ok(buffer.freeze()))
            }
            // Not in the page cache; or the file system cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Reads up to `length` bytes from `offset` on. Blocks while the file system does.
    ///
    /// # Errors
    /// As [`OpenedFile::read_now`].
    pub(super) fn read(&self, offset: u64, length: usize) -> Result<Bytes, Errno> {
        let mut buffer = BytesMut::zeroed(length);
        loop {
            match pread(&self.fd, &mut buffer[..], offset) {
                Ok(0) if length > 0 => return Err(Errno::NODATA),
                Ok(read) => {
                    buffer.truncate(read);
                    return Ok(buffer.freeze());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
