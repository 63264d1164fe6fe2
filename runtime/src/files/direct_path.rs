//! The path of a file that was read, looked up again without opening anything.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, statx};
use rustix::io::Errno;

use super::held_file::HeldFile;
use super::opened::FileVersion;
use crate::coarse_clock;

/// No lookup follows a link, mounts anything or asks a server. A file system that was mounted on the path has another
/// device.
const FLAGS: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT).union(AtFlags::STATX_DONT_SYNC);

/// What a lookup asks for.
const WANTED: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME);

/// The path of a file in the served directory, or in a directory in that, without a symbolic link.
///
/// A lookup of the path takes less than half the time of openat2(2), fstat(2) and close(2). It does not tell that the
/// directory on the path was moved out of the served one, and a link to the new place took the old one: the path still
/// leads to the same file in the same state, but out of the walls. So the directory is looked up first, and must be the
/// same and no link. With more directories, all those lookups would take longer than to open the path.
#[derive(Debug)]
pub(super) struct DirectPath {
    /// The directory on the path. `None` if the file lies directly in the served one.
    dir: Option<DirId>,
    /// The file, if it is held open.
    held: Option<HeldFile>,
}

/// The device and the number of a directory.
#[derive(PartialEq, Eq, Debug)]
struct DirId {
    device: (u32, u32),
    inode: u64,
}

impl DirectPath {
    /// Notes the directory on the path of a file that was read. Returns `None` if there are more, if it is a link, or if the
    /// path does not lead to this version of the file: it is a link itself, or was changed since.
    pub(super) fn of(
        root: &OwnedFd,
        path: &str,
        file: &FileVersion,
        held: Option<HeldFile>,
    ) -> Option<DirectPath> {
        let dir = match path.split_once('/') {
            None => None,
            Some((_, name)) if name.contains('/') => return None,
            Some((dir, _)) => Some(DirId::of(root, dir)?),
        };
        let direct = DirectPath { dir, held };
        direct.leads_to(root, path, file).then_some(direct)
    }

    /// Reports whether the path still leads to this version of the file, through the same directory. A change that is
    /// complete before the call is seen: the lookup checks the permissions of the directories, and the state of the file
    /// tells of all else. The path of a file that is held open is looked up only every few milliseconds: what the state of
    /// the file does not tell is seen within these.
    ///
    /// Blocks only if the kernel has dropped a name of the path from its cache, and reads it from a local file system again.
    pub(super) fn leads_to(&self, root: &OwnedFd, path: &str, file: &FileVersion) -> bool {
        let now = coarse_clock::monotonic();
        if self.held.as_ref().is_some_and(|held| held.tells(file, now)) {
            return true;
        }
        let dir = path.split_once('/').and_then(|(dir, _)| DirId::of(root, dir));
        let leads =
            dir == self.dir && look_up(root, path).is_ok_and(|found| FileVersion::of_statx(&found) == *file);
        if leads && let Some(held) = &self.held {
            held.looked_up(now);
        }
        leads
    }
}

impl DirId {
    /// Returns the directory that a path leads to. `None` if it leads to none.
    fn of(root: &OwnedFd, path: &str) -> Option<DirId> {
        let found = look_up(root, path).ok()?;
        let is_dir = FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory;
        let device = (found.stx_dev_major, found.stx_dev_minor);
        is_dir.then_some(DirId { device, inode: found.stx_ino })
    }
}

fn look_up(root: &OwnedFd, path: &str) -> Result<Statx, Errno> {
    statx(root, path, FLAGS, WANTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fstat;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_is_looked_up_directly_if_it_has_one_directory_at_most_and_no_link() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        for name in ["x", "a/x", "a/b/x"] {
            fs::write(at(name), name).unwrap();
        }
        symlink("x", at("link")).unwrap();
        symlink("a", at("to")).unwrap();
        let root = OwnedFd::from(File::open(place.path()).unwrap());
        let is_direct = |path: &str| {
            let version = FileVersion::of(&fstat(File::open(at(path)).unwrap()).unwrap());
            DirectPath::of(&root, path, &version, None).is_some()
        };

        for direct in ["x", "a/x"] {
            assert!(is_direct(direct), "{direct}");
        }
        for other in ["a/b/x", "link", "to/x", "to/b/x"] {
            assert!(!is_direct(other), "{other}");
        }
        assert!(DirectPath::of(&root, "x", &FileVersion::default(), None).is_none());
    }
}
