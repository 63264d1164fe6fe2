//! Evicts the least recently used entries of a cache, except those in use.

use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use rustix::fs::{AtFlags, Dir, statat, unlinkat};
use rustix::io::Errno;

use super::names::{DRAFT, is_name};

/// How long a file may take to write. An older draft was left behind by a process that was killed.
const WRITING: Duration = Duration::from_secs(10 * 60);

/// The size of a cache after eviction.
pub(super) struct CacheSize {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) evicted: u64,
}

/// Deletes the least recently used entries until the rest has at most `max` bytes, and abandoned drafts. Other files
/// are left alone, and so are entries that are `in_use`, even if they exceed `max`.
///
/// # Errors
/// The directory cannot be read, or an entry cannot be deleted.
pub(super) fn evict(dir: &OwnedFd, max: u64, in_use: &HashSet<String>) -> Result<CacheSize> {
    let mut entries = Vec::new();
    for found in Dir::read_from(dir)? {
        let found = found?;
        let name = found.file_name();
        delete_left_over(dir, name)?;
        if !is_name(name.to_bytes()) {
            continue;
        }
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Another daemon has evicted it meanwhile.
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        let used = u64::try_from(stat.st_mtime).unwrap_or_default();
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        entries.push((used, stat.st_mtime_nsec, size, name.to_owned()));
    }
    entries.sort_unstable();
    let bytes = entries.iter().map(|(_, _, size, _)| size).sum();
    let mut left = CacheSize { entries: entries.len() as u64, bytes, evicted: 0 };
    for (_, _, size, name) in entries {
        if left.bytes <= max {
            break;
        }
        if name.to_str().is_ok_and(|name| in_use.contains(name)) {
            continue;
        }
        delete(dir, &name)?;
        left = CacheSize { entries: left.entries - 1, bytes: left.bytes - size, evicted: left.evicted + 1 };
    }
    Ok(left)
}

/// Deletes a draft that was abandoned. Does nothing to other files.
///
/// # Errors
/// It cannot be deleted.
pub(super) fn delete_left_over(dir: &OwnedFd, name: &CStr) -> Result<()> {
    if !name.to_bytes().starts_with(DRAFT.as_bytes()) {
        return Ok(());
    }
    let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat?,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default());
    if now.saturating_sub(written) > WRITING { delete(dir, name) } else { Ok(()) }
}

fn delete(dir: &OwnedFd, name: &CStr) -> Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        deleted => Ok(deleted?),
    }
}
