//! The scratch directory: unnamed files, with limits per client.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, fstatvfs, openat, statvfs, unlinkat};
use rustix::io::Errno;

use super::amount::Amount;
use super::process::ProcessDir;

/// The bytes to leave free in the file system for other programs.
const RESERVE: u64 = 64 << 20;

/// Returns how many bytes a directory has room for; it need not exist yet. `None` if that cannot be determined.
pub fn room_in(dir: &Path) -> Option<u64> {
    let found = dir.ancestors().find_map(|dir| statvfs(dir).ok())?;
    let (free, all) = (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize);
    Some(free.saturating_sub(reserve(all)).min(all / 2))
}

/// Returns how many bytes to leave free in a file system of `all` bytes.
fn reserve(all: u64) -> u64 {
    RESERVE.max(all / 16)
}

/// The most files at once, and their bytes. One client may use at most half of either.
const FILES: u64 = 32;
const BYTES: u64 = 1 << 30;

/// A private directory for temporary files.
pub struct Scratch {
    pub(super) dir: OwnedFd,
    next: AtomicU64,
    used: Mutex<SpoolUse>,
    /// Made for the first handler whose jobs have a directory.
    pub(super) process: Mutex<Option<Arc<ProcessDir>>>,
}

/// The use, in total and per client address. Clients of Unix sockets share the key `None`.
#[derive(Default)]
struct SpoolUse {
    all: Amount,
    of: HashMap<Option<IpAddr>, Amount>,
}

/// A file's share of the limits. Dropping it gives the share back.
pub struct Account {
    scratch: Arc<Scratch>,
    client: Option<IpAddr>,
    bytes: u64,
}

impl Scratch {
    /// Uses a directory that no other user may enter.
    pub fn new(dir: OwnedFd) -> Scratch {
        Scratch { dir, next: AtomicU64::new(0), used: Mutex::default(), process: Mutex::default() }
    }

    /// Counts one more file of a client.
    ///
    /// # Errors
    /// The limit on files is reached.
    pub fn account(self: &Arc<Self>, client: Option<IpAddr>) -> io::Result<Account> {
        self.used().grow(client, Amount { files: 1, bytes: 0 })?;
        Ok(Account { scratch: self.clone(), client, bytes: 0 })
    }

    fn used(&self) -> MutexGuard<'_, SpoolUse> {
        // The sums are consistent after every statement, so a poisoned lock guards nothing broken.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an unnamed file, which is removed when it is closed. Blocks, like all functions here.
    ///
    /// # Errors
    /// The file system has no room, or is read-only.
    pub fn file(&self) -> io::Result<File> {
        let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        match openat(&self.dir, c".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(File::from(file)),
            // open(2): the file system does not support unnamed files.
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

    /// Checks that `bytes` more leave a sixteenth of the file system free, and at least 64 MiB.
    ///
    /// # Errors
    /// `ENOSPC` if they do not.
    pub(super) fn has_room(&self, bytes: u64) -> io::Result<()> {
        let found = fstatvfs(&self.dir)?;
        let (free, all) = (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize);
        let left = free.checked_sub(bytes).is_some_and(|left| left >= reserve(all));
        if left { Ok(()) } else { Err(Errno::NOSPC.into()) }
    }
}

impl Account {
    /// Counts bytes before they are written, and checks that the file system has room. Blocks.
    ///
    /// # Errors
    /// The limit of all clients or of this client is reached, or the file system is full.
    pub fn take(&mut self, bytes: u64) -> io::Result<()> {
        self.scratch.used().grow(self.client, Amount { files: 0, bytes })?;
        self.bytes += bytes;
        self.scratch.has_room(bytes)
    }

    /// Reports whether more than half of all bytes are in use. Slow clients are then not tolerated.
    pub fn is_scarce(&self) -> bool {
        self.scratch.used().all.bytes > BYTES / 2
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.scratch.used().shrink(self.client, Amount { files: 1, bytes: self.bytes });
    }
}

impl SpoolUse {
    fn grow(&mut self, client: Option<IpAddr>, by: Amount) -> io::Result<()> {
        let sum = |amount: Amount| Amount { files: amount.files + by.files, bytes: amount.bytes + by.bytes };
        let (all, one) = (sum(self.all), sum(self.of.get(&client).copied().unwrap_or_default()));
        let full = |what: &str, files, bytes: u64| {
            let bound = format!("{what} may keep {files} bodies and {} MiB at once", bytes >> 20);
            Err(io::Error::new(io::ErrorKind::QuotaExceeded, bound))
        };
        if all.files > FILES || all.bytes > BYTES {
            return full("all clients", FILES, BYTES);
        }
        if one.files > FILES / 2 || one.bytes > BYTES / 2 {
            return full("the clients of one address", FILES / 2, BYTES / 2);
        }
        self.all = all;
        self.of.insert(client, one);
        Ok(())
    }

    fn shrink(&mut self, client: Option<IpAddr>, by: Amount) {
        let less = |amount: &mut Amount| {
            amount.files -= by.files;
            amount.bytes -= by.bytes;
            amount.files == 0
        };
        less(&mut self.all);
        if self.of.get_mut(&client).is_some_and(less) {
            self.of.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[test]
    fn one_client_has_half_of_the_files_and_of_the_bytes_and_gives_them_back() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::new(File::open(dir.path()).unwrap().into()));
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([127, 0, 0, last])));

        let mut held: Vec<Account> = (0..FILES / 2).map(|_| scratch.account(one).unwrap()).collect();
        assert!(scratch.account(one).err().unwrap().to_string().contains("one address"));
        held[0].take(BYTES / 2).unwrap();
        assert!(held[1].take(1).is_err() && !held[0].is_scarce());
        let mut others = scratch.account(other).unwrap();
        others.take(BYTES / 2).unwrap();
        assert!(others.is_scarce());
        assert!(scratch.account(None).unwrap().take(1).unwrap_err().to_string().contains("all clients"));

        drop((held, others));

        assert!(scratch.account(one).unwrap().take(BYTES / 2).is_ok());
        assert!(scratch.used().of.is_empty());
    }

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
