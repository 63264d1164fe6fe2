//! Copies a file while it is in use.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OpenFlags};

use super::failure;
use crate::database::error::SqlError;

/// Makes a copy of one moment, without a name: it is gone when it is closed. Writers go on. Blocks.
///
/// # Errors
/// The file cannot be read, or its directory has no room for the copy.
pub(super) fn copy(path: &Path) -> Result<File, SqlError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unavailable = |error: std::io::Error| SqlError::Unavailable(format!("{}: {error}", path.display()));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{}-{number}.backup", std::process::id());
    // Beside the file: the daemon may write nowhere else.
    let place = path.with_file_name(name);
    // SQLite fills an empty file, which keeps its mode.
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&place);
    let made = made.map_err(unavailable)?;
    let written = fill(path, &place).map_err(|error| failure::of(path, &error));
    std::fs::remove_file(&place).map_err(unavailable)?;
    written.map(|()| made)
}

fn fill(path: &Path, place: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute("VACUUM INTO ?1", [place.to_string_lossy()]).map(drop)
}
