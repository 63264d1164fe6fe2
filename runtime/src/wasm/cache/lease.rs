//! Leases: the cache entries that a process uses, in a file that it keeps locked.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::evict;
use super::names::{DRAFT, draft_name, is_name};

/// The prefix of a lease file.
const PREFIX: &str = ".in-use-";

/// The most bytes read of a lease file: a hundred thousand names.
const LARGEST: u64 = 8 << 20;

/// The most times the directory is read again because a lease was replaced meanwhile.
const LOOKS: usize = 8;

/// The entries that this process uses, visible to other processes. The kernel releases the lock when the process ends
/// in any way, so others can tell that the lease is over.
pub(super) struct Lease {
    pub(super) entries: BTreeSet<String>,
    name: String,
    _locked: File,
}

impl Lease {
    /// Makes a lease. The file appears complete and locked, or not at all.
    ///
    /// # Errors
    /// The file cannot be written, or the file system does not support locks.
    pub(super) fn make(dir: &OwnedFd, entries: BTreeSet<String>) -> Result<Lease> {
        let draft = draft_name()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(dir, &draft, flags, Mode::RUSR | Mode::WUSR)?);
        let name = draft.replacen(DRAFT, PREFIX, 1);
        let text: String = entries.iter().flat_map(|entry| [entry, "\n"]).collect();
        let written = flock(&file, FlockOperation::NonBlockingLockExclusive)
            .context("lock it")
            .and_then(|()| Ok(file.write_all(text.as_bytes())?))
            .and_then(|()| Ok(renameat(dir, &draft, dir, &name)?));
        if written.is_err() {
            // If this fails too, the draft is deleted later as abandoned.
            let _left = unlinkat(dir, &draft, AtFlags::empty());
        }
        written.map(|()| Lease { entries, name, _locked: file })
    }

    /// Deletes the file. Otherwise the next process that evicts deletes it.
    pub(super) fn end(self, dir: &OwnedFd) {
        let _left = unlinkat(dir, &self.name, AtFlags::empty());
    }
}

/// Lists the entries that processes use now, and deletes the leases of processes that have ended.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn in_use(dir: &OwnedFd) -> Result<HashSet<String>> {
    let mut found = LeaseFile::default();
    for _ in 0..LOOKS {
        found = look(dir)?;
        if !found.changed {
            break;
        }
    }
    Ok(found.entries)
}

#[derive(Default)]
struct LeaseFile {
    entries: HashSet<String>,
    /// Whether a lease disappeared while the directory was read: its replacement may have been missed.
    changed: bool,
}

fn look(dir: &OwnedFd) -> Result<LeaseFile> {
    let mut found = LeaseFile::default();
    for lease in Dir::read_from(dir)? {
        let lease = lease?;
        let name = lease.file_name();
        evict::delete_left_over(dir, name)?;
        if !name.to_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        // NONBLOCK: the file may be a FIFO, and opening one would block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => {
                found.changed = true;
                continue;
            }
            // It is not a lease of ours.
            Err(_) => continue,
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                let _by_another = unlinkat(dir, name, AtFlags::empty());
            }
            Err(_) => {
                let mut text = String::new();
                let _what_is_readable = file.take(LARGEST).read_to_string(&mut text);
                let names = text.lines().filter(|line| is_name(line.as_bytes()));
                found.entries.extend(names.map(str::to_owned));
            }
        }
    }
    Ok(found)
}
