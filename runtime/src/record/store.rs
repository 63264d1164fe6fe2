//! A directory of failed jobs, bounded in number and size, written by a thread of its own.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, statat, unlinkat};
use tracing::{info, warn};

use super::bundle::{Bundle, Masked};
use crate::job::{Incident, JobId, Recorder};
use crate::observe::log;
use crate::observe::writes::RECORD;
use crate::wasm::cache;

/// Files that are kept; the oldest goes first.
const FILES: usize = 100;

/// Bytes of all of them together, and so the most of one.
pub const LARGEST: u64 = 64 << 20;

/// Failed jobs that wait to be written; one more is not kept.
const WAITING: usize = 16;

/// What is behind the names of the files.
const SUFFIX: &str = ".failure.json";

/// Where failed jobs are kept. Dropping it ends its thread, once all is written.
pub struct Store {
    writer: SyncSender<(Incident, Arc<Origin>)>,
}

/// Keeps the failed jobs of one handler.
pub struct Keeper {
    store: Arc<Store>,
    origin: Arc<Origin>,
}

/// What is written of a handler that its jobs do not know.
struct Origin {
    module: PathBuf,
    digest: String,
    masked: Masked,
}

/// The directory, as its one writer sees it.
struct Shelf {
    dir: OwnedFd,
    path: PathBuf,
    /// Names and sizes, oldest first.
    files: VecDeque<(String, u64)>,
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
        Ok(Arc::new(Store { writer }))
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
        Keeper { store, origin: Arc::new(Origin { module, digest, masked }) }
    }
}

impl Recorder for Keeper {
    fn keep(&self, incident: Incident) {
        let id = incident.id;
        if self.store.writer.try_send((incident, self.origin.clone())).is_err() {
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
                files.push((name, u64::try_from(size).unwrap_or_default()));
            }
        }
        // Their names begin with the time.
        files.sort();
        Ok(Shelf { dir, path: path.to_owned(), files: files.into() })
    }

    /// Writes what comes until nothing more can come.
    fn fill(mut self, incidents: &Receiver<(Incident, Arc<Origin>)>) {
        while let Ok((incident, origin)) = incidents.recv() {
            let id = incident.id;
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
        let size = bytes.len() as u64;
        self.make_room(size);
        let draft = format!(".{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.dir, &draft, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.with_context(|| format!("make a file in {}", self.path.display()))?);
        let written = file
            .write_all(&bytes)
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(renameat_with(&self.dir, &draft, &self.dir, &name, RenameFlags::NOREPLACE)?));
        if written.is_err() {
            let _gone = unlinkat(&self.dir, &draft, AtFlags::empty());
        }
        written.with_context(|| format!("write to {}", self.path.display()))?;
        self.files.push_back((name.clone(), size));
        Ok(self.path.join(name))
    }

    /// Removes the oldest files until one more of this size fits.
    fn make_room(&mut self, size: u64) {
        let total = |files: &VecDeque<(String, u64)>| files.iter().map(|(_, size)| size).sum::<u64>();
        while self.files.len() >= FILES || total(&self.files) + size > LARGEST {
            let Some((oldest, _)) = self.files.pop_front() else { return };
            // Whoever has taken it away has made room as well.
            let _gone = unlinkat(&self.dir, &oldest, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_files_make_room_in_number_and_in_size() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("failures");
        let mut shelf = Shelf::open(&path).unwrap();
        for number in 0..FILES + 5 {
            let name = format!("{number:03}{SUFFIX}");
            shelf.make_room(1000);
            std::fs::write(path.join(&name), vec![0; 1000]).unwrap();
            shelf.files.push_back((name, 1000));
        }
        std::fs::write(path.join("of somebody else"), b"").unwrap();

        let mut again = Shelf::open(&path).unwrap();
        assert_eq!((again.files.len(), again.files[0].0.as_str()), (FILES, "005.failure.json"));
        again.make_room(LARGEST - 3000);

        assert_eq!(again.files.len(), 3);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 4);
    }
}
