//! The directory of a process within the scratch directory, and the cleanup after dead processes.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, flock, fstatvfs, mkdirat, unlinkat};
use rustix::io::Errno;
use tracing::warn;

use super::tree;
use crate::budget::Budget;

/// The prefix of the directories' names.
const PREFIX: &str = "jobs-";

/// The unit of the space that all jobs share, in bytes.
pub(super) const UNIT: u64 = 1 << 20;

/// The directory of this process, locked while the process lives. The directory of a dead process has no lock holder.
pub(super) struct ProcessDir {
    scratch: OwnedFd,
    name: String,
    pub(super) dir: OwnedFd,
    /// Half of the file system, in units. The budget keeps a handler from taking all of it.
    pub(super) room: Arc<Budget>,
    pub(super) next: AtomicU64,
}

impl ProcessDir {
    pub(super) fn make(scratch: &OwnedFd) -> io::Result<ProcessDir> {
        let found = fstatvfs(scratch)?;
        let half = (found.f_blocks * found.f_frsize / 2 / UNIT).max(1);
        let room = Budget::new(usize::try_from(half).unwrap_or(usize::MAX));
        let _alone = DirectoryLock::with(scratch)?;
        let names = (0_u64..).map(|number| format!("{PREFIX}{}-{number}", std::process::id()));
        for name in names {
            let dir = match make(scratch, &name) {
                // The directory belongs to an earlier process with the same pid.
                Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            };
            flock(&dir, FlockOperation::NonBlockingLockExclusive)?;
            let scratch = scratch.try_clone()?;
            return Ok(ProcessDir { scratch, name, dir, room, next: AtomicU64::new(0) });
        }
        Err(Errno::EXIST.into())
    }
}

impl Drop for ProcessDir {
    fn drop(&mut self) {
        remove(&self.scratch, &self.name, &self.dir);
    }
}

/// Removes the directories that dead processes left behind.
pub(super) fn sweep(scratch: &OwnedFd) -> io::Result<()> {
    let mut left = Vec::new();
    {
        let _alone = DirectoryLock::with(scratch)?;
        for entry in Dir::read_from(scratch)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            let Ok(dir) = tree::open(scratch, name) else { continue };
            if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
                left.push((name.to_owned(), dir));
            }
        }
    }
    // A directory that cannot be removed does not prevent the removal of the others.
    let removed = left.into_iter().map(|(name, dir)| {
        tree::empty(&dir)?;
        Ok(unlinkat(scratch, &name, AtFlags::REMOVEDIR)?)
    });
    removed.fold(Ok(()), Result::and)
}

/// A lock that keeps other processes from making a directory or sweeping at the same time.
struct DirectoryLock {
    _locked: OwnedFd,
}

impl DirectoryLock {
    fn with(scratch: &OwnedFd) -> io::Result<DirectoryLock> {
        let locked = tree::open(scratch, c".")?;
        flock(&locked, FlockOperation::LockExclusive)?;
        Ok(DirectoryLock { _locked: locked })
    }
}

/// Removes a directory with its content. If that fails, the next sweep removes it.
pub(super) fn remove(parent: &OwnedFd, name: &str, dir: &OwnedFd) {
    // A thread may still be executing a call that the job started.
    const ATTEMPTS: usize = 10;
    for attempt in 1..=ATTEMPTS {
        let removed = match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if attempt < ATTEMPTS => match tree::empty(dir) {
                Ok(()) => continue,
                refused => refused,
            },
            removed => removed.map_err(io::Error::from),
        };
        if let Err(failure) = removed {
            warn!("a directory of jobs in the scratch directory cannot be removed: {failure}");
        }
        return;
    }
}

/// Makes a directory for this user alone, and opens it.
pub(super) fn make(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    mkdirat(&parent, &name, Mode::RWXU)?;
    tree::open(parent, &name)
}
