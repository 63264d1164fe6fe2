//! A directory whose files are served, held by descriptor.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::HeaderMap;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat, openat2};
use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::dir_listing::{DirListing, ListingCache};
use super::direct_path::DirectPath;
use super::held_file::HeldFile;
use super::kept_files::{self, KeptFile, KeptFiles};
use super::opened::{FileDistance, FileVersion, OpenedFile};
use crate::budget::{Budget, Holder};

/// The most threads that wait for the file system of one directory. A file system that hangs holds up these and no
/// other directory.
const THREADS: usize = 16;

/// How long a request waits for one of these threads.
const THREAD_WAIT: Duration = Duration::from_secs(10);

/// How many files of one directory are held open.
const HELD: usize = 16;

/// How often an open is tried again if a rename interferes; see openat2(2), `EAGAIN`.
const TRIES: usize = 8;

/// File systems whose cached content is there at once (statfs(2)): ext4, XFS, Btrfs, tmpfs, overlayfs, ramfs, F2FS, ZFS,
/// SquashFS and EROFS. FUSE and network file systems ask a process or a server even for what is cached.
const LOCAL: [u64; 10] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x794c_7630,
    0x8584_58f6,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0x7371_7368,
    0xe0f5_e1e2,
];

/// A directory whose files are served. No name leads out of it, whatever links are in it.
#[derive(Debug)]
pub struct FileRoot {
    /// Open for lookups only.
    dir: Arc<OwnedFd>,
    /// Its path, for messages.
    path: PathBuf,
    is_local: bool,
    /// Whether the state of a file shows what happens to its name.
    is_telling: bool,
    threads: Arc<Semaphore>,
    holder: Arc<Holder>,
    /// The listing that was made last.
    last: ListingCache,
    /// Small files that were read lately.
    kept: KeptFiles,
    /// A place for each file that is held open.
    held: Arc<Semaphore>,
}

/// A file that was read whole.
#[derive(Clone, Copy, Debug)]
pub struct WholeFile<'a> {
    /// The path at which it was opened.
    pub path: &'a str,
    /// The file.
    pub file: &'a Arc<OpenedFile>,
    /// Its content.
    pub content: &'a Bytes,
}

/// What a name leads to.
#[derive(Debug)]
pub enum FoundEntry {
    /// A regular file.
    File(OpenedFile),
    /// A directory, open for reading.
    Directory(OwnedFd),
}

/// Why a file was not opened or read.
#[derive(Debug)]
pub enum OpenError {
    /// There is no such file for clients: it is missing, is no regular file, leads out of the directory, or must not be
    /// read.
    Absent,
    /// All threads of the directory wait for its file system.
    Busy,
    /// The file system failed, or the process has no descriptor left.
    Failed(Errno),
}

/// Flags that let no open wait: for the writer of a FIFO, or for a terminal.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The walls of the directory: links and `..` cannot lead out of it (openat2(2)).
const WALLS: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// The same for a lookup that does not wait: the names are in the kernel's cache, and lead into no other file system that
/// is mounted below.
const NEAR_WALLS: ResolveFlags = WALLS.union(ResolveFlags::CACHED).union(ResolveFlags::NO_XDEV);

impl FileRoot {
    /// Serves the files of a directory whose path nobody else can change.
    ///
    /// # Errors
    /// It cannot be opened, and those of [`FileRoot::new`].
    pub fn open_path(path: &Path) -> Result<FileRoot> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        FileRoot::new(Arc::new(openat(CWD, path, flags, Mode::empty())?), path)
    }

    /// Serves the files of a directory that is open with `O_PATH`. `path` names it in messages.
    ///
    /// # Errors
    /// It is no directory, or the kernel has no openat2(2), without which links could lead out.
    pub fn new(dir: Arc<OwnedFd>, path: &Path) -> Result<FileRoot> {
        let is_dir = FileType::from_raw_mode(fstat(&dir)?.st_mode) == FileType::Directory;
        ensure!(is_dir, "{}: it is not a directory", path.display());
        openat2(&dir, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), WALLS).with_context(|| {
            format!("{}: openat2(2) does not work here, and without it links could lead out", path.display())
        })?;
        let file_system = file_system(&dir)?;
        Ok(FileRoot {
            dir,
            path: path.to_owned(),
            is_local: LOCAL.contains(&file_system),
            is_telling: HeldFile::is_telling(file_system),
            threads: Arc::new(Semaphore::new(THREADS)),
            holder: Arc::default(),
            last: ListingCache::default(),
            kept: KeptFiles::default(),
            held: Arc::new(Semaphore::new(HELD)),
        })
    }

    /// Returns its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the account of the file descriptors that its files hold.
    pub fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// Opens what a relative path leads to. A name in the cache of a local file system is opened at once, any other on
    /// a thread.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(self: &Arc<Self>, path: &str) -> Result<FoundEntry, OpenError> {
        if let Some(opened) = self.open_now(path) {
            return opened;
        }
        let (root, path) = (self.clone(), path.to_owned());
        self.on_thread(move || root.open_waiting(&path)).await
    }

    /// Reads a part of a file on a thread.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn read(&self, file: Arc<OpenedFile>, offset: u64, length: usize) -> Result<Bytes, OpenError> {
        self.on_thread(move || file.read(offset, length).map_err(OpenError::Failed)).await
    }

    /// Returns the file that is kept in memory for a path, if the path still leads to it in the state in which it was read.
    ///
    /// The names of the path were in the kernel's cache when the file was read, a short time ago. If the kernel has dropped
    /// one since, and the path is a direct one, the lookup reads a directory of a local file system. Never asks another
    /// process or a server.
    pub fn kept(&self, path: &str) -> Option<Arc<KeptFile>> {
        let kept = self.kept.find(path)?;
        // Not opened for reading, which costs more. Whether it may be read was checked when it was read, and a change of
        // its permissions is a change of its state. A new policy of a security module shows when it is read again.
        let leads_to_it = match &kept.direct {
            Some(direct) => direct.leads_to(&self.dir, path, &kept.version),
            None => match openat2(&self.dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), NEAR_WALLS)
            {
                Ok(fd) => fstat(&fd).is_ok_and(|stat| FileVersion::of(&stat) == kept.version),
                // The kernel has dropped the names from its cache.
                Err(Errno::AGAIN) => return None,
                Err(_) => false,
            },
        };
        if !leads_to_it {
            self.kept.forget(path, &kept);
        }
        leads_to_it.then_some(kept)
    }

    /// Keeps a file that was read, and the fields of the response with it, if it is small and has not been changed lately.
    /// May hold it open.
    pub fn keep(&self, read: WholeFile<'_>, fields: impl FnOnce() -> HeaderMap, descriptors: &Arc<Budget>) {
        let WholeFile { path, file, content } = read;
        if !file.may_be_kept() || content.len() > kept_files::LARGEST {
            return;
        }
        // A request that looks for a compressed file or for another path first reads a file that is kept already. To
        // replace it would only hold up the requests that are answered from memory.
        if self.kept.find(path).is_some_and(|kept| kept.version == file.version) {
            return;
        }
        // A file that is read for the first time is neither looked up nor held open.
        if !self.kept.note_read(path) {
            return;
        }
        let held = self.hold(path, file, descriptors);
        let direct = DirectPath::of(&self.dir, path, &file.version, held);
        self.kept.keep(path, KeptFile::new(file.version, direct, content.clone(), fields()));
    }

    /// Holds a file open that lies directly in the directory, for as long as it is taken from memory. `None` if its state
    /// would not show what happens to its name, if enough are held, or if half of the descriptors are taken.
    fn hold(&self, path: &str, file: &Arc<OpenedFile>, descriptors: &Arc<Budget>) -> Option<HeldFile> {
        if !self.is_telling || path.contains('/') {
            return None;
        }
        let place = self.held.clone().try_acquire_owned().ok()?;
        // Jobs and long files fail without a descriptor. This file is only answered a little later.
        let descriptor = descriptors.try_take(&self.holder, 1).filter(|taken| !taken.is_scarce())?;
        Some(HeldFile::new(file.clone(), place, descriptor, kept_files::FRESH))
    }

    /// Lists the open directory `dir` at a path, in the order of names, without those that are never served and without
    /// links that lead out. A long list is cut. The last listing is kept until its directory changes.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn list(self: &Arc<Self>, path: &str, dir: OwnedFd) -> Result<Arc<DirListing>, OpenError> {
        let (root, path) = (self.clone(), path.to_owned());
        let list = move || {
            let leads_to = |name: &str| root.leads_to(&format!("{path}/{name}"));
            root.last.list(&dir, leads_to).map_err(OpenError::Failed)
        };
        self.on_thread(list).await
    }

    /// Returns what a path leads to. `None` if it leads nowhere, or out of the directory.
    fn leads_to(&self, path: &str) -> Option<FileType> {
        let found = openat2(&self.dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), WALLS).ok()?;
        Some(FileType::from_raw_mode(fstat(&found).ok()?.st_mode))
    }

    /// Opens a name that is in the kernel's cache. Returns `None` if it could wait.
    fn open_now(&self, path: &str) -> Option<Result<FoundEntry, OpenError>> {
        if !self.is_local {
            return None;
        }
        match openat2(&self.dir, path, FLAGS, Mode::empty(), NEAR_WALLS) {
            Ok(fd) => Some(entry(fd, FileDistance::Near)),
            // EINVAL: the kernel is older than Linux 5.12 and has no RESOLVE_CACHED.
            Err(Errno::AGAIN | Errno::XDEV | Errno::INVAL) => None,
            Err(error) => Some(Err(error.into())),
        }
    }

    fn open_waiting(&self, path: &str) -> Result<FoundEntry, OpenError> {
        let mut tries = 0;
        loop {
            match openat2(&self.dir, path, FLAGS, Mode::empty(), WALLS) {
                Ok(fd) => {
                    let is_local = self.is_local && is_local(&fd)?;
                    return entry(fd, if is_local { FileDistance::Local } else { FileDistance::Far });
                }
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Runs a blocking call on one of the threads. The thread is taken until the call returns, even if nobody waits for
    /// it any more.
    async fn on_thread<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
    ) -> Result<T, OpenError> {
        let permit: OwnedSemaphorePermit =
            match timeout(THREAD_WAIT, self.threads.clone().acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) | Err(_) => return Err(OpenError::Busy),
            };
        let called = spawn_blocking(move || {
            let outcome = call();
            drop(permit);
            outcome
        });
        match timeout(THREAD_WAIT, called).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(OpenError::Failed(Errno::IO)),
            Err(_) => Err(OpenError::Busy),
        }
    }
}

/// Reports whether an open file or directory lies in a local file system: a read of what is in the page cache does not
/// block there.
///
/// # Errors
/// The kernel does not tell the file system.
pub fn is_local(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(LOCAL.contains(&file_system(fd)?))
}

/// Returns the number of a file system (statfs(2)).
fn file_system(fd: impl AsFd) -> Result<u64, Errno> {
    Ok(u64::try_from(fstatfs(fd)?.f_type).unwrap_or_default())
}

/// Takes an opened file or directory, and refuses anything else.
fn entry(fd: OwnedFd, distance: FileDistance) -> Result<FoundEntry, OpenError> {
    let stat = fstat(&fd)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(FoundEntry::File(OpenedFile::new(fd, &stat, distance))),
        FileType::Directory => Ok(FoundEntry::Directory(fd)),
        _ => Err(OpenError::Absent),
    }
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> OpenError {
        match error {
            // EXDEV: a link leads out. ENXIO: a socket, or a FIFO without a writer.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::XDEV
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::NXIO
            | Errno::NODEV => OpenError::Absent,
            other => OpenError::Failed(other),
        }
    }
}

#[cfg(test)]
mod tests;
