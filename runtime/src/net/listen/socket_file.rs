//! The file of a Unix socket, and the lock under which such files are made and removed.

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, flock, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::stale_socket::same_file;

/// The longest wait for the lock when removing a file. After it the file stays behind, stale, and the next start
/// removes it.
const LEAVE_WAIT: Duration = Duration::from_millis(250);
/// The pause between two attempts at the lock: flock(2) has no timeout.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// The file of a bound socket. Dropping it removes the file, if this process owns it and it is still the bound one.
#[derive(Debug)]
pub(super) struct SocketFile {
    dir: OwnedFd,
    name: OsString,
    made: Stat,
    /// `false` if another process removes the file, or no process does.
    ours: AtomicBool,
}

/// The lock of a directory. Every Portcullis takes it before it changes the file at a socket's path.
pub(super) struct Lock<'a>(&'a OwnedFd);

impl SocketFile {
    /// Records the file of a socket bound just now; `made` is its stat(2).
    pub(super) fn made(dir: OwnedFd, name: OsString, made: Stat) -> SocketFile {
        SocketFile { dir, name, made, ours: AtomicBool::new(true) }
    }

    /// Finds the file of a socket that another process bound. That process stays its owner until [`SocketFile::own`].
    ///
    /// # Errors
    /// The path holds no socket of this user.
    pub(super) fn adopt(path: &Path) -> anyhow::Result<SocketFile> {
        let name = path.file_name().context("the path names a directory: add a file name")?.to_owned();
        let dir = open_directory(path)?;
        let made = statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let ours = made.st_uid == rustix::process::geteuid().as_raw();
        if !ours || FileType::from_raw_mode(made.st_mode) != FileType::Socket {
            bail!("the path does not hold a socket of this daemon");
        }
        Ok(SocketFile { dir, name, made, ours: AtomicBool::new(false) })
    }

    /// Makes this process responsible for removing the file.
    pub(super) fn own(&self) {
        self.ours.store(true, Ordering::Relaxed);
    }

    /// Leaves the file in place for another process.
    pub(super) fn leave(&self) {
        self.ours.store(false, Ordering::Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !*self.ours.get_mut() {
            return;
        }
        let Ok(_lock) = Lock::take(&self.dir, LEAVE_WAIT) else { return };
        let found = statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| same_file(&found, &self.made)) {
            let _ = unlinkat(&self.dir, &self.name, AtFlags::empty());
        }
    }
}

impl Lock<'_> {
    /// Takes the lock. `WOULDBLOCK` means that another process held it the whole time.
    #[allow(
        clippy::disallowed_methods,
        reason = "flock(2) has no event to wait for and no deadline of its own"
    )]
    pub(super) fn take(dir: &OwnedFd, patience: Duration) -> Result<Lock<'_>, Errno> {
        let deadline = Instant::now() + patience;
        loop {
            match flock(dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(dir)),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

/// Opens the directory that holds the socket of a path.
pub(super) fn open_directory(path: &Path) -> anyhow::Result<OwnedFd> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let shown = parent.display();
    let dir = match rustix::fs::open(parent, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => bail!("the directory {shown} does not exist: create it"),
        Err(Errno::NOTDIR) => bail!("{shown} is not a directory: choose another path"),
        Err(error) => return Err(error).with_context(|| format!("the directory {shown} cannot be opened")),
    };
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode);
    // Not an error: volumes shared between containers have such a mode.
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        tracing::warn!(directory = %shown, "every user may replace the socket in this directory: remove write permission or set the sticky bit");
    }
    Ok(dir)
}
