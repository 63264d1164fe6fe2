//! Notes on disk, safe under instances that run at once and are killed at any point.
//!
//! ```text
//! ROOT/7/12-9f…3a         the head of note 7: an empty file whose name says that the state is 12-9f…3a
//! ROOT/7/12-9f…3a.json    that state, complete and on the disk before the head said so
//! ROOT/8/gone             note 8 was deleted
//! ROOT/staging/5c…01/     a note in the making
//! ```
//!
//! **An update is one rename.** The writer puts its state into a file of its own, syncs it, and renames the old head to
//! the new one. `rename` fails where its source is gone, so of all who start from state 12-9f…3a exactly one gets
//! through: it is the compare-and-swap that `If-Match` asks for. The token makes it sound: a head that was left never
//! comes back, so a writer that slept for an hour cannot succeed late. (Numbered files made with create-exclusive, the
//! obvious scheme, have that hole: once an old number is cleaned up, it can be created again.)
//!
//! **A deletion is the same rename**, to `gone`, which stays: ids are dense and never used again, so the end of the
//! store is found by bisection and a listing counts upwards. Neither reads a directory, which preview1 does slowly.
//!
//! **A creation is one rename too**, of a complete directory to the first free id. It fails where the id was taken,
//! for a note's directory is never empty; the next id is then tried.
//!
//! **What the killed leave behind** is never mistaken for a note. State files numbered at or below the head can become
//! nobody's state any more, so whoever wins an update removes them (see [`Store::sweep`]); files above the head may
//! belong to a writer at work and are left. Only `staging` is cleaned by age, an hour, which no job's wall limit comes
//! near; were one that slow, its creation would fail and nothing else.
//!
//! A reader lists one note's directory, which may miss a head renamed meanwhile: it then looks again. That a note is
//! gone it believes only on seeing `gone`.
//!
//! Preview1 cannot sync a directory: after a power cut the last renames may be missing, never half done.

use crate::version::{Version, token};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The most notes a store ever holds, deleted ones counted: it bounds the mount's inodes.
pub(crate) const MOST: u64 = 100_000;

/// How often a reader looks again, or a writer tries again, when others were faster each time.
const TRIES: usize = 64;

/// How old a note in the making is when its maker must be dead.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The name in place of a head that says that the note was deleted.
const GONE: &str = "gone";

/// A note as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
}

/// What is at an id.
#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    /// A note in one of its states.
    Note(Version, Note),
    /// A note was there.
    Gone,
    /// No note was ever there.
    Never,
}

/// What became of an attempt to change a note.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    /// It holds.
    Made,
    /// The note is in another state by now.
    Late,
}

/// A directory of notes.
pub(crate) struct Store {
    root: PathBuf,
    /// The highest id.
    most: u64,
}

impl Store {
    /// Names the directory; looks at nothing.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Store {
        Store { root: root.into(), most: MOST }
    }

    /// Adds a note; `None` when the store is full.
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
                    // Now and then is enough, and which one does it is nobody's choice.
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

    /// Reads what is at an id.
    ///
    /// # Errors
    /// `WouldBlock` when the note was changed again and again while it was read.
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

    /// Puts a new state in the place of `from`, if that is still the state.
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

    /// Deletes the note, if `from` is still its state.
    pub(crate) fn delete(&self, id: u64, from: Version) -> io::Result<Change> {
        let change = swap(&self.directory(id), from, GONE)?;
        if change == Change::Made {
            self.sweep(id, Version::last());
        }
        Ok(change)
    }

    /// Returns the first id that was never taken: ids are taken in order and never given back.
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

    /// Removes the state files that no head can name any more: all numbered at or below `head` but its own. Whoever
    /// would still name one needs a head numbered lower than `head` to rename, and none of those comes back.
    ///
    /// What cannot be removed stays for the next winner, so nothing is reported.
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

    /// Removes what was left in the making longer ago than `age`.
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

/// Writes a state into a file of its own, and returns once it is on the disk.
fn write_state(directory: &Path, version: Version, note: &Note) -> io::Result<()> {
    let mut file = File::create_new(state_path(directory, version))?;
    file.write_all(&serde_json::to_vec(note)?)?;
    file.sync_all()
}

/// The compare-and-swap: renames one head to the next, which fails where the first is gone.
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

/// Returns the newest head seen; `None` when a rename got in between, or the directory changed under the reading.
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

/// Whether a directory could not be renamed because something is there. POSIX leaves the choice between the two.
fn is_taken(error: &io::Error) -> bool {
    // WASI preview1 `errno`: notempty; Rust's library has no `ErrorKind` for it there.
    const NOT_EMPTY: i32 = 55;
    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty)
        || (cfg!(target_os = "wasi") && error.raw_os_error() == Some(NOT_EMPTY))
}

/// The error of one who was overtaken every time.
pub(crate) fn busy() -> io::Error {
    io::Error::new(ErrorKind::WouldBlock, format!("others were faster {TRIES} times"))
}

#[cfg(test)]
mod tests;
