//! Whether a path still leads to the file that is open, or a file could be made at it.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// The time between two looks.
const PLACE_CHECK: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(1) };

/// The device and the inode of a file. Another file at the same path differs in one of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

/// The file that is open.
#[derive(Debug, Default)]
pub struct FilePlace {
    /// `None` until a file has been open.
    identity: Option<FileIdentity>,
    /// When the path was last seen to lead to it.
    seen: Option<Instant>,
}

impl FileIdentity {
    /// Returns the identity of the file at a path. `None` if there is none, or it cannot be looked at.
    pub fn at(path: &Path) -> Option<FileIdentity> {
        let file = fs::metadata(path).ok()?;
        Some(FileIdentity { device: file.dev(), inode: file.ino() })
    }
}

impl FilePlace {
    /// Notes which file is open. With `None`, every path counts as leading to it.
    pub fn note(&mut self, identity: Option<FileIdentity>) {
        *self = FilePlace { identity, seen: None };
    }

    /// Returns the identity of the open file. `None` until a file has been open.
    pub fn identity(&self) -> Option<FileIdentity> {
        self.identity
    }

    /// Reports whether the path no longer leads to the file, so that writes would be lost. Looks again a second after the
    /// path was last seen to lead to it.
    pub fn is_lost(&mut self, path: &Path) -> bool {
        let Some(known) = self.identity else { return false };
        if self.seen.is_some_and(|seen| seen.elapsed() < PLACE_CHECK) {
            return false;
        }
        let is_lost = FileIdentity::at(path) != Some(known);
        if !is_lost {
            self.seen = Some(Instant::now());
        }
        is_lost
    }
}

/// Whether a path may be that of a file. A path that ends with a slash, `.` or `..` is that of a directory.
pub fn names_file(path: &str) -> bool {
    // `Path::file_name` would pass over a last `.`.
    !matches!(path.rsplit('/').next(), None | Some("" | "." | ".."))
}

/// Checks whether this process could make a file, with its directory, at a path where none is. Makes nothing.
///
/// # Errors
/// What is nearest above it is no directory, or this process may not write to it.
pub fn can_be_made(path: &Path) -> io::Result<()> {
    let mut above = path.ancestors().skip(1);
    // A symbolic link that leads nowhere counts as there: no directory can be made in its place.
    let dir = above.find(|dir| fs::symlink_metadata(dir).is_ok()).unwrap_or(Path::new("."));
    if !fs::metadata(dir)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    Ok(accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_replaced_is_lost_until_the_other_one_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut place = FilePlace::default();
        assert!(!place.is_lost(&path), "none has been open");
        fs::write(&path, "1").unwrap();
        place.note(FileIdentity::at(&path));

        fs::rename(&path, dir.path().join("b")).unwrap();
        assert!(place.is_lost(&path));
        fs::write(&path, "2").unwrap();
        assert!(place.is_lost(&path));

        place.note(FileIdentity::at(&path));
        assert!(!place.is_lost(&path));
    }

    #[test]
    fn a_file_can_be_made_where_its_directory_can() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        let refusal = |path: &str| can_be_made(&at(path)).err().map(|error| error.kind());

        assert_eq!((refusal("a"), refusal("b/c/d")), (None, None));
        assert_eq!(refusal("file/a"), Some(ErrorKind::NotADirectory));
        assert_eq!(refusal("link/a"), Some(ErrorKind::NotFound));
        assert!(!at("b").exists());
    }
}
