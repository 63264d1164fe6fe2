//! An open regular file, and its state.

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use rustix::fs::{Stat, Statx, StatxTimestamp, fstat, makedev};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct OpenedFile {
    fd: OwnedFd,
    /// The file, and its state when it was opened.
    pub version: FileVersion,
    distance: FileDistance,
    /// Whether it had not been changed for long enough then.
    had_settled: bool,
}

/// How far away a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FileDistance {
    /// In the mount of its directory, and its names are in the kernel's cache. A read of what is in the page cache returns
    /// at once.
    Near,
    /// In a local file system: the same for reads.
    Local,
    /// In a file system that asks a process or a server even for what is cached.
    Far,
}

/// A file by its device and number, and its state. Two contents of a file have two versions, if the first had settled
/// when it was read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FileVersion {
    device: u64,
    inode: u64,
    /// The state.
    pub state: FileState,
}

/// How long a file or a directory must be unchanged before what was read of it is kept: changes within one tick of the
/// clock of a file system cannot be told apart.
const SETTLED: Duration = Duration::from_secs(2);

/// The length and the times of a file.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
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

    /// Reports whether neither the content nor anything else was changed lately, so that the next change shows in the
    /// times.
    pub(super) fn has_settled(&self) -> bool {
        has_settled(self.changed) && has_settled(self.modified)
    }
}

impl FileVersion {
    pub(super) fn of(stat: &Stat) -> FileVersion {
        FileVersion { device: stat.st_dev, inode: stat.st_ino, state: FileState::of(stat) }
    }

    /// As [`FileVersion::of`], from the number, the length and the times that statx(2) has told.
    pub(super) fn of_statx(found: &Statx) -> FileVersion {
        let time = |time: StatxTimestamp| {
            Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), time.tv_nsec)
        };
        let (modified, changed) = (time(found.stx_mtime), time(found.stx_ctime));
        FileVersion {
            device: makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            state: FileState { length: found.stx_size, modified, changed },
        }
    }
}

/// Reports whether a time of change, since 1970, is long enough ago that the next change has another time.
pub(super) fn has_settled(changed: Duration) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.checked_sub(changed).is_some_and(|age| age > SETTLED)
}

impl OpenedFile {
    pub(super) fn new(fd: OwnedFd, stat: &Stat, distance: FileDistance) -> OpenedFile {
        let version = FileVersion::of(stat);
        OpenedFile { fd, version, distance, had_settled: version.state.has_settled() }
    }

    /// Reports whether its content may be kept: the path can be compared with it at once, and its next change will show.
    pub(super) fn may_be_kept(&self) -> bool {
        self.distance == FileDistance::Near && self.had_settled
    }

    /// Reports whether the file is in this state still, and has neither got nor lost a name.
    pub(super) fn is_in(&self, version: &FileVersion) -> bool {
        fstat(&self.fd).is_ok_and(|stat| FileVersion::of(&stat) == *version)
    }

    /// Reports whether the content has changed since the file was opened.
    pub fn has_changed(&self) -> bool {
        fstat(&self.fd).map_or(true, |stat| {
            let FileState { length, modified, .. } = FileState::of(&stat);
            (length, modified) != (self.version.state.length, self.version.state.modified)
        })
    }

    /// Reads up to `length` bytes from `offset` on, if they are in the page cache of a local file system. Returns `None`
    /// if the read could wait. Never blocks.
    ///
    /// # Errors
    /// The file cannot be read, or ends before `offset`.
    pub fn read_now(&self, offset: u64, length: usize) -> Option<Result<Bytes, Errno>> {
        if self.distance == FileDistance::Far {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_settled_when_neither_of_its_times_is_recent_or_to_come() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let [past, soon, next] = [now - 2 * SETTLED, now - SETTLED / 2, now + 2 * SETTLED];

        let settled = |modified, changed| FileState { length: 1, modified, changed }.has_settled();

        assert!(settled(past, past) && settled(Duration::ZERO, past));
        for (modified, changed) in [(soon, past), (past, soon), (next, past), (past, next)] {
            assert!(!settled(modified, changed), "{modified:?} {changed:?}");
        }
    }
}
