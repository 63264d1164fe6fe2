//! Finds a second name of a file, a hard link, below a directory.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};

/// The most directory entries that one search looks at: 50,000 take some 50 ms.
const MOST: usize = 50_000;

/// The most directories within each other.
const DEEPEST: usize = 64;

/// A file by its file system and its number there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileNumber {
    pub(super) device: u64,
    pub(super) number: u64,
}

/// Reports whether a file has a name below a directory, as far as the first [`MOST`] entries tell. Directories of other
/// file systems are left out, since they cannot hold a hard link to the file. A directory that cannot be read counts as
/// empty.
pub(super) fn is_below(dir: OwnedFd, file: FileNumber) -> bool {
    let mut left = MOST;
    let mut dirs = vec![(dir, 0)];
    while let Some((dir, depth)) = dirs.pop() {
        if fstat(&dir).is_ok_and(|found| found.st_dev != file.device) {
            continue;
        }
        let Ok(entries) = Dir::read_from(&dir) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Some(rest) = left.checked_sub(1) else { return false };
            left = rest;
            match entry.file_type() {
                FileType::Directory if depth < DEEPEST => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    dirs.extend(openat(dir.as_fd(), name, flags, Mode::empty()).map(|dir| (dir, depth + 1)));
                }
                // The entry of a mount point has the number of what is mounted over.
                FileType::RegularFile | FileType::Unknown
                    if entry.ino() == file.number
                        && statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
                            FileNumber { device: found.st_dev, number: found.st_ino } == file
                        }) =>
                {
                    return true;
                }
                _ => {}
            }
        }
    }
    false
}
