//! The directory of one process in the scratch directory, and what dead processes have left there.

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

/// How the directories of processes are called.
const PREFIX: &str = "jobs-";

/// What the room that all jobs share is counted in.
pub(super) const UNIT: u64 = 1 << 20;

/// The directory of this process. It is locked while the process lives: nobody holds the lock of what a dead one left.
pub(super) struct ProcessDir {
    scratch: OwnedFd,
    name: String,
    pub(super) dir: OwnedFd,
    /// Half of the file system, in units: no handler takes so much that another has nothing.
    pub(super) room: Arc<Budget>,
    pub(super) next: AtomicU64,
}

impl ProcessDir {
    pub(super) fn make(scratch: &OwnedFd) -> io::Result<ProcessDir> {
        let found = fstatvfs(scratch)?;
        let half = (found.f_blocks * found.f_frsize / 2 / UNIT).max(1);
        let room = Budget::new(usize::try_from(half).unwrap_or(usize::MAX));
        let _alone = Alone::with(scratch)?;
        let names = (0_u64..).map(|number| format!("{PREFIX}{}-{number}", std::process::id()));
        for name in names {
            let dir = match make(scratch, &name) {
                // Of a process before this one that had its number.
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

/// Removes what processes have left that ended without doing so.
pub(super) fn sweep(scratch: &OwnedFd) -> io::Result<()> {
    let mut left = Vec::new();
    {
        let _alone = Alone::with(scratch)?;
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
    // What cannot be removed of one does not keep the others.
    let removed = left.into_iter().map(|(name, dir)| {
        tree::empty(&dir)?;
        Ok(unlinkat(scratch, &name, AtFlags::REMOVEDIR)?)
    });
    removed.fold(Ok(()), Result::and)
}

/// Keeps other processes from making their directory, or looking for what is left, at the same time.
struct Alone {
    _locked: OwnedFd,
}

impl Alone {
    fn with(scratch: &OwnedFd) -> io::Result<Alone> {
        let locked = tree::open(scratch, c".")?;
        flock(&locked, FlockOperation::LockExclusive)?;
        Ok(Alone { _locked: locked })
    }
}

/// Removes a directory with all that is in it. What cannot be removed now goes with the next sweep.
pub(super) fn remove(parent: &OwnedFd, name: &str, dir: &OwnedFd) {
    // A thread may still carry out what the job has begun.
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

/// Makes a directory for us alone, and opens it.
pub(super) fn make(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    mkdirat(&parent, &name, Mode::RWXU)?;
    tree::open(parent, &name)
}
