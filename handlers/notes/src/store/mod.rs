//! Stores notes on disk, safely with concurrent instances that may be killed at any point.
//!
//! ```text
//! ROOT/7/12-9f…3a         the head of note 7: an empty file whose name says that the state is 12-9f…3a
//! ROOT/7/12-9f…3a.json    that state, complete and on the disk before the head said so
//! ROOT/8/gone             note 8 was deleted
//! ROOT/staging/5c…01/     a note in the making
//! ```
//!
//! **An update is one rename.** The writer puts its state into a file of its own, syncs it, and renames the old head
//! to the new one. `rename` fails if its source is gone. Of all writers that start from state 12-9f…3a, exactly one
//! succeeds: this is the compare-and-swap that `If-Match` needs. The token makes it sound. A head that was replaced
//! never comes back, so a writer that slept for an hour cannot succeed late. (The obvious scheme, numbered files made
//! with create-exclusive, has that hole: once an old number is cleaned up, it can be created again.)
//!
//! **A deletion is the same rename**, to `gone`, which is kept. Ids are dense and never reused, so the end of the
//! store is found by bisection, and a listing counts upwards. Neither reads a directory, which is slow in preview1.
//!
//! **A creation is one rename too**, of a complete directory to the first free id. It fails if the id is taken, since
//! a note's directory is never empty. The next id is tried then.
//!
//! **The leftovers of killed instances** are never mistaken for a note. State files numbered at or below the head
//! cannot become a state any more, so the winner of an update removes them (see [`Store::sweep`]). Files above the
//! head may belong to an active writer and are kept. Only `staging` is cleaned by age, after an hour. No job's wall
//! limit comes near that; a slower job would fail to create its note, and nothing else.
//!
//! A reader lists the directory of one note. The list may miss a head that is renamed meanwhile: the reader then
//! tries again. It treats a note as deleted only if it sees `gone`.
//!
//! Preview1 cannot sync a directory: after a power cut the last renames may be missing, but never incomplete.

use crate::version::{Version, token};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The most notes of a store, including deleted ones. This limits the inodes of the mount.
pub(crate) const MOST: u64 = 100_000;

/// How often a reader or a writer tries again when others were faster each time.
const TRIES: usize = 64;

/// The age at which a directory in `staging` is abandoned.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The name that replaces a head when the note is deleted.
const GONE: &str = "gone";

/// A note as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
}

/// What an id refers to.
#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    /// A note in one of its states.
    Note(Version, Note),
    /// The note was deleted.
    Gone,
    /// The id was never used.
    Never,
}

/// The outcome of an attempt to change a note.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    /// The change was made.
    Made,
    /// The note has changed since `from`.
    Late,
}

/// A directory of notes.
pub(crate) struct Store {
    root: PathBuf,
    /// The highest id.
    most: u64,
}

impl Store {
    /// Names the directory, without accessing it.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Store {
        Store { root: root.into(), most: MOST }
    }

    /// Adds a note. Returns `None` if the store is full.
    pub(crate) fn create(&self, note: &Note) -> io::Result<Option<(u64, Version)>> {
        let staging = self.root.join("staging");
        made_before(fs::create_dir(&staging))?;
        let making = staging.join(format!("{:016x}", token()));
        fs::create_dir(&making)?;
        let version = Version::first();
        write_state(&making, version, note)?;
        File::create_new(making.join(version.to_string()))?;
        let mut id = self.end()?;
        while id <= self.most {
            match fs::rename(&making, self.directory(id)) {
                Ok(()) => {
                    // Cleaning now and then is enough. The id decides which instance does it.
                    if id.is_multiple_of(16) {
                        self.clean_staging(ABANDONED);
                    }
                    return Ok(Some((id, version)));
                }
                Err(error) if is_taken(&error) => id += 1,
                Err(error) => return Err(error),
            }
        }
        fs::remove_dir_all(&making)?;
        Ok(None)
    }

    /// Reads the note at an id.
    ///
    /// # Errors
    /// `WouldBlock` if the note changed again and again while it was read.
    pub(crate) fn read(&self, id: u64) -> io::Result<Found> {
        let directory = self.directory(id);
        for _ in 0..TRIES {
            if !directory.try_exists()? {
                return Ok(Found::Never);
            }
            if directory.join(GONE).try_exists()? {
                return Ok(Found::Gone);
            }
            let Some(head) = head(&directory) else { continue };
            match fs::read(state_path(&directory, head)) {
                Ok(bytes) => return Ok(Found::Note(head, serde_json::from_slice(&bytes)?)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy())
    }

    /// Replaces the state `from` by a new one. Returns `Change::Late` if `from` is no longer the state.
    pub(crate) fn replace(&self, id: u64, from: Version, note: &Note) -> io::Result<(Version, Change)> {
        let directory = self.directory(id);
        let to = from.next();
        write_state(&directory, to, note)?;
        let change = swap(&directory, from, &to.to_string());
        if matches!(change, Ok(Change::Made)) {
            self.sweep(id, to);
        } else {
            let _leftover = fs::remove_file(state_path(&directory, to));
        }
        change.map(|change| (to, change))
    }

    /// Deletes the note if `from` is still its state.
    pub(crate) fn delete(&self, id: u64, from: Version) -> io::Result<Change> {
        let change = swap(&self.directory(id), from, GONE)?;
        if change == Change::Made {
            self.sweep(id, Version::last());
        }
        Ok(change)
    }

    /// Returns the first id that was never used. Ids are used in order and never freed.
    pub(crate) fn end(&self) -> io::Result<u64> {
        let mut taken = 0;
        let mut free = 1;
        while free <= self.most && self.directory(free).try_exists()? {
            taken = free;
            free *= 2;
        }
        while free - taken > 1 {
            let middle = taken + (free - taken) / 2;
            if self.directory(middle).try_exists()? {
                taken = middle;
            } else {
                free = middle;
            }
        }
        Ok(free)
    }

    /// Removes the state files that no head can name any more: all numbered at or below `head`, except its own. A
    /// writer that could still name one would have to rename a head with a lower number, and such a head never comes
    /// back.
    ///
    /// Errors are not reported: what remains is removed by the next winner.
    fn sweep(&self, id: u64, head: Version) {
        let directory = self.directory(id);
        for name in names(&directory).unwrap_or_default() {
            let Some(version) = name.strip_suffix(".json").and_then(|name| name.parse::<Version>().ok())
            else {
                continue;
            };
            if version.number <= head.number && version != head {
                let _leftover = fs::remove_file(directory.join(name));
            }
        }
    }

    /// Removes directories in `staging` that are older than `age`.
    fn clean_staging(&self, age: Duration) {
        let staging = self.root.join("staging");
        for name in names(&staging).unwrap_or_default() {
            let path = staging.join(name);
            let modified = fs::metadata(&path).and_then(|meta| meta.modified());
            let old = modified
                .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|passed| passed >= age));
            if old {
                let _leftover = fs::remove_dir_all(path);
            }
        }
    }

    fn directory(&self, id: u64) -> PathBuf {
        self.root.join(id.to_string())
    }
}

/// Writes a state into a file of its own. Returns after it is synced to disk.
fn write_state(directory: &Path, version: Version, note: &Note) -> io::Result<()> {
    let mut file = File::create_new(state_path(directory, version))?;
    file.write_all(&serde_json::to_vec(note)?)?;
    file.sync_all()
}

/// The compare-and-swap: renames one head to the next. It fails if the first is gone.
fn swap(directory: &Path, from: Version, to: &str) -> io::Result<Change> {
    match fs::rename(directory.join(from.to_string()), directory.join(to)) {
        Ok(()) => Ok(Change::Made),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Change::Late),
        Err(error) => Err(error),
    }
}

fn state_path(directory: &Path, version: Version) -> PathBuf {
    directory.join(format!("{version}.json"))
}

/// Returns the newest head. `None` if a rename came in between, or the directory changed while it was read.
fn head(directory: &Path) -> Option<Version> {
    names(directory).ok()?.iter().filter_map(|name| name.parse().ok()).max()
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn made_before(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Returns whether a rename failed because the target exists. POSIX allows either of two errors.
fn is_taken(error: &io::Error) -> bool {
    // WASI preview1 `errno`: notempty; Rust's library has no `ErrorKind` for it there.
    const NOT_EMPTY: i32 = 55;
    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty)
        || (cfg!(target_os = "wasi") && error.raw_os_error() == Some(NOT_EMPTY))
}

/// Makes the error for a reader or writer that was overtaken every time.
pub(crate) fn busy() -> io::Error {
    io::Error::new(ErrorKind::WouldBlock, format!("others were faster {TRIES} times"))
}

#[cfg(test)]
mod tests;
