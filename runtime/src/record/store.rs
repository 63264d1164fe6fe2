//! A directory of failed jobs, bounded in number and size, written by a thread of its own.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, statat, unlinkat};
use tracing::{info, warn};

use super::bundle::Bundle;
use super::mask::Masked;
use crate::budget::{Budget, Holder, Portion};
use crate::job::{Incident, JobId, Read, Recorder};
use crate::observe::log;
use crate::observe::writes::RECORD;
use crate::wasm::cache;

/// Files that are kept; the oldest of the handler that has the most goes first.
const FILES: usize = 100;

/// Bytes of all of them together, and so the most of one.
pub const LARGEST: u64 = 64 << 20;

/// Failed jobs that wait to be written; one more is not kept.
const WAITING: usize = 16;

/// Those of them that may be of one handler.
const SHARE: usize = 4;

/// What is behind the names of the files.
const SUFFIX: &str = ".failure.json";

/// Bytes that running jobs have read and that are kept in case they fail.
const KEPT: usize = 32 << 20;

/// Where failed jobs are kept. Dropping it ends its thread, once all is written.
pub struct Store {
    writer: SyncSender<(Incident, Arc<Origin>)>,
    /// What is kept of running jobs, in units of [`Read::UNIT`] bytes.
    kept: Arc<Budget>,
}

/// Keeps the failed jobs of one handler.
pub struct Keeper {
    store: Arc<Store>,
    origin: Arc<Origin>,
    keeps_stdin: bool,
    /// The handler's part of what is kept of running jobs.
    holder: Arc<Holder>,
}

/// What is written of a handler that its jobs do not know.
struct Origin {
    module: PathBuf,
    digest: String,
    masked: Masked,
    /// Failed jobs of this handler that wait to be written.
    waiting: AtomicUsize,
}

/// The directory, as its one writer sees it.
struct Shelf {
    dir: OwnedFd,
    path: PathBuf,
    /// Oldest first.
    files: Vec<Kept>,
}

/// A file of the directory.
struct Kept {
    name: String,
    size: u64,
}

impl Store {
    /// Opens a directory, which is made if there is none; nobody else may use it.
    ///
    /// # Errors
    /// It cannot be made or read, is not ours, or others may use it; there is no thread for it.
    pub fn open(path: &Path) -> Result<Arc<Store>> {
        let shelf = Shelf::open(path)?;
        let (writer, incidents) = sync_channel(WAITING);
        let work = move || shelf.fill(&incidents);
        std::thread::Builder::new().name("recorder".to_owned()).spawn(work)?;
        Ok(Arc::new(Store { writer, kept: Budget::new(KEPT / Read::UNIT) }))
    }
}

/// Says whether [`Store::open`] would have a directory that can be written to, and makes nothing.
///
/// # Errors
/// As [`Store::open`]; nothing can be written there.
pub fn examine(path: &Path) -> Result<()> {
    cache::examine_private_dir(path)
}

impl Keeper {
    /// Makes the keeper of a handler: the file of its module, the SHA-256 of what that holds, and
    /// the variables whose values are not written down.
    pub fn new(store: Arc<Store>, module: PathBuf, digest: String, masked: Masked) -> Keeper {
        // Whole, since a file is read from wherever somebody stands.
        let module = std::path::absolute(&module).unwrap_or(module);
        let origin = Origin { module, digest, masked, waiting: AtomicUsize::new(0) };
        Keeper { store, origin: Arc::new(origin), keeps_stdin: true, holder: Arc::default() }
    }

    /// Leaves out what its jobs read: a body may hold what is nobody's to keep.
    pub fn without_bodies(self) -> Keeper {
        Keeper { keeps_stdin: false, ..self }
    }
}

impl Recorder for Keeper {
    fn keeps_stdin(&self) -> bool {
        self.keeps_stdin
    }

    fn room(&self) -> Portion {
        self.store.kept.nothing(&self.holder)
    }

    fn keep(&self, incident: Incident) {
        let (id, waiting) = (incident.id, &self.origin.waiting);
        let taken = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            Some(waiting + 1).filter(|waiting| *waiting <= SHARE)
        });
        if taken.is_err() {
            return complain(
                id,
                format_args!("{SHARE} failed jobs of its handler wait to be written already"),
            );
        }
        if self.store.writer.try_send((incident, self.origin.clone())).is_err() {
            waiting.fetch_sub(1, Ordering::Relaxed);
            complain(id, format_args!("{WAITING} failed jobs wait to be written already"));
        }
    }
}

/// Counts a failed job that is not kept; the first of a row is logged, and no later one.
fn complain(id: JobId, why: fmt::Arguments<'_>) {
    if RECORD.fail() {
        warn!("[{id}] is not recorded: {why}");
    }
}

impl Shelf {
    fn open(path: &Path) -> Result<Shelf> {
        let dir = cache::private_dir(path)?;
        let mut files = Vec::new();
        for entry in Dir::read_from(&dir).context("read the directory")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(SUFFIX) {
                let size = statat(&dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)?.st_size;
                files.push(Kept { name, size: u64::try_from(size).unwrap_or_default() });
            }
        }
        // Their names begin with the time.
        files.sort_by(|one: &Kept, other: &Kept| one.name.cmp(&other.name));
        Ok(Shelf { dir, path: path.to_owned(), files })
    }

    /// Writes what comes until nothing more can come.
    fn fill(mut self, incidents: &Receiver<(Incident, Arc<Origin>)>) {
        while let Ok((incident, origin)) = incidents.recv() {
            let id = incident.id;
            origin.waiting.fetch_sub(1, Ordering::Relaxed);
            match self.put(&incident, &origin) {
                Ok(file) => {
                    if let Some(failures) = RECORD.succeed() {
                        info!("failed jobs are recorded again, {failures} were not");
                    }
                    info!("[{id}] is recorded: portcullis replay {}", file.display());
                }
                Err(failure) => complain(id, format_args!("{failure:#}")),
            }
        }
    }

    fn put(&mut self, incident: &Incident, origin: &Origin) -> Result<PathBuf> {
        let time = log::now();
        // Without colons, which some tools take for a host's name.
        let name = format!("{}-{}-{}{SUFFIX}", time.replace(':', ""), incident.entry.name, incident.id);
        let bundle = Bundle::of(incident, &origin.module, &origin.digest, &origin.masked, time);
        let mut bytes = serde_json::to_vec_pretty(&bundle)?;
        bytes.push(b'\n');
        let kept = Kept { name, size: bytes.len() as u64 };
        self.make_room(&kept);
        let name = &kept.name;
        let draft = format!(".{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, &draft, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.with_context(|| format!("make a file in {}", self.path.display()))?);
        let written = file
            .write_all(&bytes)
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(renameat_with(&self.dir, &draft, &self.dir, name, RenameFlags::NOREPLACE)?));
        if written.is_err() {
            let _gone = unlinkat(&self.dir, &draft, AtFlags::empty());
        }
        written.with_context(|| format!("write to {}", self.path.display()))?;
        let path = self.path.join(name);
        self.files.push(kept);
        Ok(path)
    }

    /// Removes files until one more fits: each time the oldest of the handler that has the most, the
    /// one to come among them, so that one that fails often leaves those of the others alone.
    fn make_room(&mut self, coming: &Kept) {
        while let Some(at) = self.surplus(coming) {
            // Whoever has taken it away has made room as well.
            let _gone = unlinkat(&self.dir, &self.files.remove(at).name, AtFlags::empty());
        }
    }

    /// Finds the file that has to go next for one more; none: it fits.
    fn surplus(&self, coming: &Kept) -> Option<usize> {
        let mut handlers: HashMap<&str, (u64, u64)> = HashMap::new();
        for file in self.files.iter().chain([coming]) {
            let (files, bytes) = handlers.entry(file.handler()).or_default();
            (*files, *bytes) = (*files + 1, *bytes + file.size);
        }
        let many = self.files.len() >= FILES;
        if !many && handlers.values().map(|(_, bytes)| bytes).sum::<u64>() <= LARGEST {
            return None;
        }
        let share = |file: &Kept| {
            let (files, bytes) = handlers.get(file.handler()).copied().unwrap_or_default();
            if many { files } else { bytes }
        };
        let most = self.files.iter().map(share).max()?;
        self.files.iter().position(|file| share(file) == most)
    }
}

impl Kept {
    /// Returns the handler in the file's name, which is between the time and the number of the job.
    fn handler(&self) -> &str {
        let behind = self.name.split_once("Z-").map_or("", |(_, behind)| behind);
        behind.rsplit_once('-').map_or("", |(handler, _)| handler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts an empty file of some size on the shelf.
    fn put(shelf: &mut Shelf, handler: &str, number: usize, size: u64) {
        let name = format!("2026-01-01T000000.{number:06}Z-{handler}-{number:016x}{SUFFIX}");
        let file = Kept { name, size };
        shelf.make_room(&file);
        std::fs::write(shelf.path.join(&file.name), vec![0; usize::try_from(size).unwrap()]).unwrap();
        shelf.files.push(file);
    }

    fn count(shelf: &Shelf, handler: &str) -> usize {
        shelf.files.iter().filter(|file| file.handler() == handler).count()
    }

    #[test]
    fn the_oldest_files_make_room_in_number_and_in_size() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("failures");
        let mut shelf = Shelf::open(&path).unwrap();
        for number in 0..FILES + 5 {
            put(&mut shelf, "one", number, 1000);
        }
        std::fs::write(path.join("of somebody else"), b"").unwrap();

        let mut again = Shelf::open(&path).unwrap();
        assert_eq!((again.files.len(), again.files[0].name.contains(".000005Z-one-")), (FILES, true));
        again.make_room(&Kept { name: String::new(), size: LARGEST - 3000 });

        assert_eq!(again.files.len(), 3);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 4);
    }

    #[test]
    fn a_handler_that_fails_often_or_at_length_leaves_the_files_of_the_others() {
        let place = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::open(&place.path().join("failures")).unwrap();
        for number in 0..3 {
            put(&mut shelf, "rare-one", number, 10);
        }

        for number in 3..FILES + 50 {
            put(&mut shelf, "often", number, 10);
        }
        assert_eq!((count(&shelf, "rare-one"), count(&shelf, "often")), (3, FILES - 3));
        assert!(shelf.files[3].name.contains(&format!(".{:06}Z-", 53)), "the oldest of its own");

        shelf.make_room(&Kept { name: "2026Z-long-1".to_owned(), size: LARGEST - 500 });
        assert_eq!((count(&shelf, "rare-one"), count(&shelf, "often")), (3, 47));
    }
}
