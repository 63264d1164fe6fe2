//! Keeps a cache within its bounds: what was used last stays.

use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use rustix::fs::{AtFlags, Dir, statat, unlinkat};
use rustix::io::Errno;

use super::entry;

/// What the name of a file that is still written starts with.
pub(super) const DRAFT: &str = ".draft-";

/// How long a file may be written. What is older was left behind by a process that was killed.
const WRITING: Duration = Duration::from_secs(10 * 60);

/// How much a cache may hold.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) entries: usize,
    pub(super) bytes: u64,
}

/// Room for several versions of every handler of a large installation.
pub(super) const BOUNDS: Bounds = Bounds { entries: 128, bytes: 256 << 20 };

/// Deletes the entries that were not used for longest, until the others are within bounds, and
/// drafts that nobody writes any more. Leaves what is neither alone.
///
/// # Errors
/// The directory cannot be read, or an entry not be deleted.
pub(super) fn evict(dir: &OwnedFd, bounds: Bounds) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut entries = Vec::new();
    for found in Dir::read_from(dir)? {
        let found = found?;
        let name = found.file_name();
        let is_draft = name.to_bytes().starts_with(DRAFT.as_bytes());
        if !is_draft && !entry::is_name(name.to_bytes()) {
            continue;
        }
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Another daemon evicts too.
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        let used = u64::try_from(stat.st_mtime).unwrap_or_default();
        if !is_draft {
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            entries.push((used, stat.st_mtime_nsec, size, name.to_owned()));
        } else if now.saturating_sub(used) > WRITING.as_secs() {
            delete(dir, name)?;
        }
    }
    entries.sort_unstable();
    let mut left = entries.len();
    let mut bytes: u64 = entries.iter().map(|(_, _, size, _)| size).sum();
    for (_, _, size, name) in entries {
        // The last one stays: it was put just now and is as large as it has to be.
        if left <= 1 || (left <= bounds.entries && bytes <= bounds.bytes) {
            break;
        }
        delete(dir, &name)?;
        left -= 1;
        bytes -= size;
    }
    Ok(())
}

fn delete(dir: &OwnedFd, name: &std::ffi::CStr) -> Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        deleted => Ok(deleted?),
    }
}
