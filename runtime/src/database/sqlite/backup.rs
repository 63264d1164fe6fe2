//! Copies a file while it is in use.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::rand::{GetRandomFlags, getrandom};

use super::control::StatementControl;
use super::{failure, memory};
use crate::database::error::SqlError;

/// How the name of a copy in progress ends. It begins with a dot and the name of the database.
const ENDING: &str = ".backup";

/// Bytes between the two, which are random, as hexadecimal digits.
const RANDOM: usize = 8;

/// Instructions of SQLite's machine between two looks at whether the copy is still wanted.
const INSTRUCTIONS: i32 = 1000;

/// Makes a copy of one moment, without a name: it is gone when it is closed. Writers go on. Blocks, until `control`
/// cancels it.
///
/// # Errors
/// The file cannot be read, or its directory has no room for the copy.
pub(super) fn copy(path: &Path, control: &Arc<StatementControl>) -> Result<File, SqlError> {
    let unavailable = |error: io::Error| SqlError::Unavailable(format!("{}: {error}", path.display()));
    let (place, made) = make(path).map_err(unavailable)?;
    let written = fill(path, &place, control).map_err(|error| failure::of(path, &error));
    std::fs::remove_file(&place).map_err(unavailable)?;
    written.map(|()| made)
}

/// Removes copies that a process which was killed has left beside a database.
pub(super) fn sweep(path: &Path) {
    let prefix = prefix(path);
    let Ok(entries) = path.parent().unwrap_or(Path::new(".")).read_dir() else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let middle = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(ENDING));
        // A file with a name that an operator chose is not such a copy.
        let is_copy = middle.is_some_and(|middle| {
            middle.len() == 2 * RANDOM && middle.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let left = || File::open(entry.path()).is_ok_and(|file| lock(&file).is_ok());
        if is_copy && left() {
            // Another process may have been faster.
            let _removed = std::fs::remove_file(entry.path());
        }
    }
}

/// Makes an empty file beside the database: the daemon may write nowhere else. SQLite fills it, and it keeps its mode.
/// While it is locked, its process is at work.
fn make(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut random = [0; RANDOM];
    getrandom(&mut random[..], GetRandomFlags::empty())?;
    let random = HEXLOWER.encode(&random);
    let place = path.with_file_name(format!("{}{random}{ENDING}", prefix(path)));
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&place)?;
    lock(&made)?;
    match made.metadata()?.nlink() {
        0 => Err(io::Error::other("the copy was swept away as it was made: try again")),
        _ => Ok((place, made)),
    }
}

fn prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

fn lock(file: &File) -> io::Result<()> {
    Ok(flock(file, FlockOperation::NonBlockingLockExclusive)?)
}

fn fill(path: &Path, place: &Path, control: &Arc<StatementControl>) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    memory::count_by_thread();
    let mut connection = Connection::open_with_flags(path, flags)?;
    let control = control.clone();
    connection.progress_handler(INSTRUCTIONS, Some(move || control.is_over()))?;
    connection.execute("VACUUM INTO ?1", [place.to_string_lossy()]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_was_left_is_swept_and_one_in_progress_is_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.sqlite");
        let (left, file) = make(&path).unwrap();
        drop(file);
        let (in_progress, _file) = make(&path).unwrap();
        let of_another = make(&place.path().join("b.sqlite")).unwrap().0;
        let of_an_operator = place.path().join(".a.sqlite.before-2026.backup");
        std::fs::write(&of_an_operator, "").unwrap();

        sweep(&path);

        assert!(!left.exists() && in_progress.exists() && of_another.exists() && of_an_operator.exists());
    }
}
