//! A directory of failed jobs, bounded in number and size, written by its own thread.

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
use crate::job::{CapturedStdin, FailedJob, JobId, Recorder};
use crate::observe::log;
use crate::observe::write_failures::RECORD;
use crate::wasm::cache;

/// The most files. The oldest file of the handler with the most files is removed first.
const FILES: usize = 100;

/// The most bytes of all files together, and so of one file.
pub const LARGEST: u64 = 64 << 20;

/// The most failed jobs that wait to be written. Further ones are not recorded.
const WAITING: usize = 16;

/// The most of these that may belong to one handler.
const SHARE: usize = 4;

/// The suffix of the file names.
const SUFFIX: &str = ".failure.json";

/// The most bytes of stdin retained for all running jobs, in case they fail.
const KEPT: usize = 32 << 20;

/// The store of failed jobs. Dropping it ends its thread once everything is written.
pub struct Store {
    writer: SyncSender<(FailedJob, Arc<RecordedHandler>)>,
    /// The stdin retained for running jobs, in units of [`CapturedStdin::UNIT`] bytes.
    kept: Arc<Budget>,
}

/// Records the failed jobs of one handler.
pub struct HandlerRecorder {
    store: Arc<Store>,
    origin: Arc<RecordedHandler>,
    keeps_stdin: bool,
    /// The handler's share of the retained stdin.
    holder: Arc<Holder>,
}

/// Facts about a handler for its records that its jobs do not have.
struct RecordedHandler {
    module: PathBuf,
    digest: String,
    masked: Masked,
    /// How many failed jobs of this handler wait to be written.
    waiting: AtomicUsize,
}

/// The directory, used by the writer thread alone.
struct RecordDir {
    dir: OwnedFd,
    path: PathBuf,
    /// Oldest first.
    files: Vec<RecordFile>,
}

/// A recorded file.
struct RecordFile {
    name: String,
    size: u64,
}

impl Store {
    /// Opens a directory, and creates it if it is missing. No other program may use it.
    ///
    /// # Errors
    /// The directory cannot be made or read, belongs to another user, or is accessible to others; or the thread cannot
    /// be started.
    pub fn open(path: &Path) -> Result<Arc<Store>> {
        let shelf = RecordDir::open(path)?;
        let (writer, incidents) = sync_channel(WAITING);
        let work = move || shelf.fill(&incidents);
        std::thread::Builder::new().name("recorder".to_owned()).spawn(work)?;
        Ok(Arc::new(Store { writer, kept: Budget::new(KEPT / CapturedStdin::UNIT) }))
    }
}

/// Checks whether [`Store::open`] would get a writable directory. Creates nothing.
///
/// # Errors
/// As [`Store::open`]; also if the directory is not writable.
pub fn examine(path: &Path) -> Result<()> {
    cache::examine_private_dir(path)
}

/// Finds the file of a failed job in the directory of a store. `None` if the job was not recorded, or its file was
/// removed to make room.
pub fn find(dir: &Path, id: JobId) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).ok()?;
    let suffix = format!("-{id}{SUFFIX}");
    let files = std::fs::read_dir(dir).ok()?.filter_map(|file| Some(file.ok()?.path()));
    let is_its = |file: &PathBuf| {
        file.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            // A name with a dot in front is a file that is still being written.
            !name.starts_with('.') && name.ends_with(&suffix)
        })
    };
    files.into_iter().find(is_its)
}

impl HandlerRecorder {
    /// Makes the keeper of a handler. `module` is the file of its module, `digest` the SHA-256 of its content, and
    /// `masked` the variables whose values are left out.
    pub fn new(store: Arc<Store>, module: PathBuf, digest: String, masked: Masked) -> HandlerRecorder {
        // Absolute, because a replay may start in another directory.
        let module = std::path::absolute(&module).unwrap_or(module);
        let origin = RecordedHandler { module, digest, masked, waiting: AtomicUsize::new(0) };
        HandlerRecorder { store, origin: Arc::new(origin), keeps_stdin: true, holder: Arc::default() }
    }

    /// Leaves out stdin: a request body may contain private data.
    pub fn without_bodies(self) -> HandlerRecorder {
        HandlerRecorder { keeps_stdin: false, ..self }
    }
}

impl Recorder for HandlerRecorder {
    fn keeps_stdin(&self) -> bool {
        self.keeps_stdin
    }

    fn room(&self) -> Portion {
        self.store.kept.nothing(&self.holder)
    }

    fn keep(&self, incident: FailedJob) {
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

/// Counts a failed job that is not recorded. Only the first of a run is logged.
fn complain(id: JobId, why: fmt::Arguments<'_>) {
    if RECORD.fail() {
        warn!("[{id}] is not recorded: {why}");
    }
}

impl RecordDir {
    fn open(path: &Path) -> Result<RecordDir> {
        let dir = cache::private_dir(path)?;
        let mut files = Vec::new();
        for entry in Dir::read_from(&dir).context("read the directory")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(SUFFIX) {
                let size = statat(&dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)?.st_size;
                files.push(RecordFile { name, size: u64::try_from(size).unwrap_or_default() });
            }
        }
        // The names begin with the time.
        files.sort_by(|one: &RecordFile, other: &RecordFile| one.name.cmp(&other.name));
        Ok(RecordDir { dir, path: path.to_owned(), files })
    }

    /// Writes incoming jobs until every sender is dropped.
    fn fill(mut self, incidents: &Receiver<(FailedJob, Arc<RecordedHandler>)>) {
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

    fn put(&mut self, incident: &FailedJob, origin: &RecordedHandler) -> Result<PathBuf> {
        let time = log::now();
        // Without colons: some tools take the text before a colon for a host name.
        let name = format!("{}-{}-{}{SUFFIX}", time.replace(':', ""), incident.entry.name, incident.id);
        let bundle = Bundle::of(incident, &origin.module, &origin.digest, &origin.masked, time);
        let mut bytes = serde_json::to_vec_pretty(&bundle)?;
        bytes.push(b'\n');
        let kept = RecordFile { name, size: bytes.len() as u64 };
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

    /// Removes files until the next one fits, each time the oldest file of the handler with the most. The next file
    /// counts too, so a handler that fails often does not displace the files of others.
    fn make_room(&mut self, coming: &RecordFile) {
        while let Some(at) = self.surplus(coming) {
            // If another process removed the file, there is room as well.
            let _gone = unlinkat(&self.dir, &self.files.remove(at).name, AtFlags::empty());
        }
    }

    /// Finds the next file to remove. Returns `None` if the new file fits.
    fn surplus(&self, coming: &RecordFile) -> Option<usize> {
        let mut handlers: HashMap<&str, (u64, u64)> = HashMap::new();
        for file in self.files.iter().chain([coming]) {
            let (files, bytes) = handlers.entry(file.handler()).or_default();
            (*files, *bytes) = (*files + 1, *bytes + file.size);
        }
        let many = self.files.len() >= FILES;
        if !many && handlers.values().map(|(_, bytes)| bytes).sum::<u64>() <= LARGEST {
            return None;
        }
        let share = |file: &RecordFile| {
            let (files, bytes) = handlers.get(file.handler()).copied().unwrap_or_default();
            if many { files } else { bytes }
        };
        let max = self.files.iter().map(share).max()?;
        self.files.iter().position(|file| share(file) == max)
    }
}

impl RecordFile {
    /// Returns the handler from the file's name, between the time and the job's id.
    fn handler(&self) -> &str {
        let behind = self.name.split_once("Z-").map_or("", |(_, behind)| behind);
        behind.rsplit_once('-').map_or("", |(handler, _)| handler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds an empty file with a nominal size to the shelf.
    fn put(shelf: &mut RecordDir, handler: &str, number: usize, size: u64) {
        let name = format!("2026-01-01T000000.{number:06}Z-{handler}-{number:016x}{SUFFIX}");
        let file = RecordFile { name, size };
        shelf.make_room(&file);
        std::fs::write(shelf.path.join(&file.name), vec![0; usize::try_from(size).unwrap()]).unwrap();
        shelf.files.push(file);
    }

    fn count(shelf: &RecordDir, handler: &str) -> usize {
        shelf.files.iter().filter(|file| file.handler() == handler).count()
    }

    #[test]
    fn the_oldest_files_make_room_in_number_and_in_size() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("failures");
        let mut shelf = RecordDir::open(&path).unwrap();
        for number in 0..FILES + 5 {
            put(&mut shelf, "one", number, 1000);
        }
        std::fs::write(path.join("of somebody else"), b"").unwrap();

        let mut again = RecordDir::open(&path).unwrap();
        assert_eq!((again.files.len(), again.files[0].name.contains(".000005Z-one-")), (FILES, true));
        again.make_room(&RecordFile { name: String::new(), size: LARGEST - 3000 });

        assert_eq!(again.files.len(), 3);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 4);
    }

    #[test]
    fn a_handler_that_fails_often_or_at_length_leaves_the_files_of_the_others() {
        let place = tempfile::tempdir().unwrap();
        let mut shelf = RecordDir::open(&place.path().join("failures")).unwrap();
        for number in 0..3 {
            put(&mut shelf, "rare-one", number, 10);
        }

        for number in 3..FILES + 50 {
            put(&mut shelf, "often", number, 10);
        }
        assert_eq!((count(&shelf, "rare-one"), count(&shelf, "often")), (3, FILES - 3));
        assert!(shelf.files[3].name.contains(&format!(".{:06}Z-", 53)), "the oldest of its own");

        shelf.make_room(&RecordFile { name: "2026Z-long-1".to_owned(), size: LARGEST - 500 });
        assert_eq!((count(&shelf, "rare-one"), count(&shelf, "often")), (3, 47));
    }
}
