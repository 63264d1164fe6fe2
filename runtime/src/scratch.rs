//! A directory for what does not fit into memory and is nobody's tomorrow: files without a name.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, fstatvfs, openat, unlinkat};
use rustix::io::Errno;

/// What is left free of the file system, in bytes: others need it as well.
const RESERVE: u64 = 64 << 20;

/// A directory that is ours alone.
pub struct Scratch {
    dir: OwnedFd,
    next: AtomicU64,
}

impl Scratch {
    /// Uses a directory that nobody else may enter.
    pub fn new(dir: OwnedFd) -> Scratch {
        Scratch { dir, next: AtomicU64::new(0) }
    }

    /// Makes a file that has no name and goes when it is closed. Blocks, as all here does.
    ///
    /// # Errors
    /// The file system has no room, or is read-only.
    pub fn file(&self) -> io::Result<File> {
        let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        match openat(&self.dir, c".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(File::from(file)),
            // open(2): a file system that makes none without a name.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let name = format!("{}-{number}", std::process::id());
                let file = openat(&self.dir, &name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
                unlinkat(&self.dir, &name, AtFlags::empty())?;
                Ok(File::from(file))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Makes sure that so many more bytes leave a sixteenth of the file system free, and 64 MiB.
    ///
    /// # Errors
    /// They do not.
    pub fn has_room(&self, bytes: u64) -> io::Result<()> {
        let found = fstatvfs(&self.dir)?;
        let (free, all) = (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize);
        let left = free.checked_sub(bytes).is_some_and(|left| left >= RESERVE.max(all / 16));
        if left { Ok(()) } else { Err(Errno::NOSPC.into()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[test]
    fn a_file_is_written_and_read_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(File::open(dir.path()).unwrap().into());

        let mut file = scratch.file().unwrap();
        file.write_all(b"kept").unwrap();
        file.rewind().unwrap();
        let mut read = String::new();
        file.read_to_string(&mut read).unwrap();

        assert_eq!((read.as_str(), std::fs::read_dir(dir.path()).unwrap().count()), ("kept", 0));
        assert!(scratch.has_room(1).is_ok());
        assert_eq!(scratch.has_room(u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
