//! Converts errors of redb to ours.

use std::any::Any;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::store::error::StoreError;

/// Converts an error of an operation on a file.
pub(super) fn of(path: &Path, error: impl Into<redb::Error>) -> StoreError {
    let path = path.display();
    match error.into() {
        redb::Error::Corrupted(what) => corrupt(path, &what),
        redb::Error::DatabaseAlreadyOpen => StoreError::Unavailable(format!(
            "{path} is open in another process, which must end first: a store with `durability = \"relaxed\"` \
             belongs to one process"
        )),
        redb::Error::UpgradeRequired(version) => StoreError::Corrupt(format!(
            "{path} has version {version} of the file format, which this daemon does not read: move the file away"
        )),
        // A file that was cut short ends before its pages do.
        redb::Error::Io(error)
            if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            corrupt(path, &error.to_string())
        }
        error => StoreError::Unavailable(format!("{path}: {error}")),
    }
}

/// Makes the error of a file that is damaged, or not a store.
pub(super) fn corrupt(path: impl std::fmt::Display, what: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "{path} is damaged or not a store ({what}): restore it from a backup, or move it away to start with an \
         empty store"
    ))
}

/// Makes the error of a file that was removed or replaced.
pub(super) fn lost(path: &Path) -> StoreError {
    StoreError::Unavailable(format!(
        "{} was removed or replaced while the daemon had it open: restore the file",
        path.display()
    ))
}

/// Runs an operation. redb panics on some damages of a file; the panic becomes an error.
pub(super) fn guarded<T>(
    path: &Path,
    operation: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let outcome = catch_unwind(AssertUnwindSafe(operation));
    outcome.unwrap_or_else(|panic| Err(corrupt(path.display(), message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a check failed")
}
