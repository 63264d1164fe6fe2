//! The scratch directory: unnamed files, with limits per client.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, fstatvfs, openat, statvfs, unlinkat};
use rustix::io::Errno;
use tokio::sync::Notify;

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

/// The time after which the rate of an arriving body tells something.
pub const RATE_GRACE: Duration = Duration::from_secs(10);

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
    /// The next number.
    next: u64,
    /// The files whose bodies still arrive.
    arriving: BTreeMap<u64, ArrivingFile>,
}

/// A file that is written at the pace of its client. Its room may be given to another client.
struct ArrivingFile {
    client: Option<IpAddr>,
    bytes: u64,
    since: Instant,
    eviction: Arc<Eviction>,
}

/// Tells that the room of a file was given to another client. The flag changes under the lock of [`SpoolUse`].
#[derive(Default)]
struct Eviction {
    is_done: AtomicBool,
    told: Notify,
}

/// A file's share of the limits. Dropping it gives the share back.
pub struct Account {
    scratch: Arc<Scratch>,
    client: Option<IpAddr>,
    number: u64,
    /// Changes under the lock of [`SpoolUse`].
    bytes: AtomicU64,
    eviction: Arc<Eviction>,
}

impl Scratch {
    /// Uses a directory that no other user may enter.
    pub fn new(dir: OwnedFd) -> Scratch {
        Scratch { dir, next: AtomicU64::new(0), used: Mutex::default(), process: Mutex::default() }
    }

    /// Counts one more file of a client. If there are as many as may be, the slowest that still arrives makes room, of
    /// the address with most, if that has more than this client.
    ///
    /// # Errors
    /// The limit on files is reached.
    pub fn account(self: &Arc<Self>, client: Option<IpAddr>) -> io::Result<Account> {
        let mut used = self.used();
        if used.all.files == FILES {
            used.evict_for(client);
        }
        used.grow(client, Amount { files: 1, bytes: 0 })?;
        let (number, eviction) = (used.next, Arc::<Eviction>::default());
        used.next += 1;
        let file = ArrivingFile { client, bytes: 0, since: Instant::now(), eviction: eviction.clone() };
        used.arriving.insert(number, file);
        Ok(Account { scratch: self.clone(), client, number, bytes: AtomicU64::new(0), eviction })
    }

    fn used(&self) -> MutexGuard<'_, SpoolUse> {
        // The sums are consistent after every statement, so a poisoned lock guards nothing broken.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an unnamed file, which is removed when it is closed. Blocks.
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

    /// Checks that `bytes` more leave a sixteenth of the file system free, and at least 64 MiB. Blocks.
    ///
    /// # Errors
    /// `ENOSPC` if they do not.
    pub fn has_room(&self, bytes: u64) -> io::Result<()> {
        let found = fstatvfs(&self.dir)?;
        let (free, all) = (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize);
        let left = free.checked_sub(bytes).is_some_and(|left| left >= reserve(all));
        if left { Ok(()) } else { Err(Errno::NOSPC.into()) }
    }
}

impl Account {
    /// Counts bytes before they are written. Does not check that the file system [has room](Scratch::has_room).
    ///
    /// # Errors
    /// The limit of all clients or of this client is reached, or the room was given to another client.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        let mut used = self.scratch.used();
        if self.eviction.is_done.load(Ordering::Relaxed) {
            return Err(evicted());
        }
        used.grow(self.client, Amount { files: 0, bytes })?;
        let taken = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        used.arriving.entry(self.number).and_modify(|file| file.bytes = taken);
        Ok(())
    }

    /// Reports whether more than half of all files or bytes are in use. Slow clients are then not tolerated.
    pub fn is_scarce(&self) -> bool {
        let Amount { files, bytes } = self.scratch.used().all;
        files > FILES / 2 || bytes > BYTES / 2
    }

    /// Waits until the room is given to another client. Returns the error that says so.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub async fn evicted(&self) -> io::Error {
        self.eviction.told.notified().await;
        evicted()
    }

    /// Notes that the body is complete: from here on the file is kept for its job.
    ///
    /// # Errors
    /// The room was given to another client.
    pub fn settle(&self) -> io::Result<()> {
        let mut used = self.scratch.used();
        used.arriving.remove(&self.number);
        if self.eviction.is_done.load(Ordering::Relaxed) { Err(evicted()) } else { Ok(()) }
    }
}

fn evicted() -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, "its room was given to a client that had less")
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut used = self.scratch.used();
        used.arriving.remove(&self.number);
        if !self.eviction.is_done.load(Ordering::Relaxed) {
            let bytes = self.bytes.load(Ordering::Relaxed);
            used.shrink(self.client, Amount { files: 1, bytes });
        }
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

    /// Takes the room of the slowest file that still arrives, of the address with the most files. It must have at
    /// least two more than this client, so that two clients do not evict each other in turn.
    fn evict_for(&mut self, client: Option<IpAddr>) {
        let files = |client: &Option<IpAddr>| self.of.get(client).map_or(0, |amount| amount.files);
        let least = files(&client) + 2;
        // Too young for a rate: the oldest goes first of these, after all the others.
        let is_young = |file: &ArrivingFile| file.since.elapsed() < RATE_GRACE;
        let rate = |file: &ArrivingFile| file.bytes as f64 / file.since.elapsed().as_secs_f64();
        let urgency = |one: &ArrivingFile, other: &ArrivingFile| match (is_young(one), is_young(other)) {
            (false, false) => rate(other).total_cmp(&rate(one)),
            (true, true) => other.since.cmp(&one.since),
            (one, other) => other.cmp(&one),
        };
        let candidates = self.arriving.iter().filter(|(_, file)| files(&file.client) >= least);
        let slowest = candidates.max_by(|(_, one), (_, other)| {
            files(&one.client).cmp(&files(&other.client)).then_with(|| urgency(one, other))
        });
        let Some(number) = slowest.map(|(number, _)| *number) else { return };
        if let Some(ArrivingFile { client, bytes, eviction, .. }) = self.arriving.remove(&number) {
            eviction.is_done.store(true, Ordering::Relaxed);
            eviction.told.notify_one();
            self.shrink(client, Amount { files: 1, bytes });
        }
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

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_client_has_half_of_the_files_and_of_the_bytes_and_gives_them_back() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::new(File::open(dir.path()).unwrap().into()));
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([127, 0, 0, last])));

        let held: Vec<Account> = (0..FILES / 2).map(|_| scratch.account(one).unwrap()).collect();
        assert!(scratch.account(one).err().unwrap().to_string().contains("one address"));
        held[0].take(BYTES / 2).unwrap();
        assert!(held[1].take(1).is_err() && !held[0].is_scarce());
        let others = scratch.account(other).unwrap();
        others.take(BYTES / 2).unwrap();
        assert!(others.is_scarce());
        assert!(scratch.account(None).unwrap().take(1).unwrap_err().to_string().contains("all clients"));

        drop((held, others));

        assert!(scratch.account(one).unwrap().take(BYTES / 2).is_ok());
        assert!(scratch.used().of.is_empty());
    }

    #[test]
    fn a_client_with_less_gets_the_room_of_the_slowest_file_of_those_with_most() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::new(File::open(dir.path()).unwrap().into()));
        let [one, other, newcomer] = [1, 2, 3].map(|last| Some(IpAddr::from([127, 0, 0, last])));
        let held: Vec<Account> = [one, other]
            .into_iter()
            .flat_map(|client| (0..FILES / 2).map(move |_| client))
            .map(|client| scratch.account(client).unwrap())
            .collect();
        held.iter().skip(1).for_each(|account| account.take(1).unwrap());
        assert!(held[0].is_scarce());

        let late = scratch.account(newcomer).unwrap();

        assert!(held[0].evicted().now_or_never().is_some());
        assert!(held[0].take(1).is_err() && held[0].settle().is_err());
        late.take(1).unwrap();
        assert_eq!(scratch.used().all.files, FILES);
        // What a job already has stays.
        held[FILES as usize / 2..].iter().for_each(|account| account.settle().unwrap());
        let _more: Vec<Account> = (0..6).map(|_| scratch.account(newcomer).unwrap()).collect();
        assert_eq!(held[1..].iter().filter_map(|account| account.take(1).err()).count(), 6);

        drop((held, late, _more));
        let used = scratch.used();
        assert_eq!((used.all.files, used.all.bytes, used.of.len(), used.arriving.len()), (0, 0, 0, 0));
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
