//! Converts errors of SQLite.

use std::path::Path;

use rusqlite::{Error, ErrorCode, ffi};

use super::memory;
use crate::database::error::SqlError;
use crate::database::limits::CONNECTION_MEMORY;

/// Converts an error of a statement.
pub(super) fn of(path: &Path, error: &Error) -> SqlError {
    match error {
        Error::SqliteFailure(code, text) => {
            by_code(path, *code, text.clone().unwrap_or_else(|| code.to_string()))
        }
        Error::SqlInputError { error, msg, .. } => by_code(path, *error, msg.clone()),
        Error::MultipleStatement => {
            SqlError::Invalid("one statement at a time: send the next in a call of its own".to_owned())
        }
        Error::Empty => SqlError::Invalid("the statement is empty".to_owned()),
        error => SqlError::Invalid(error.to_string()),
    }
}

fn by_code(path: &Path, error: ffi::Error, text: String) -> SqlError {
    match error.code {
        ErrorCode::ConstraintViolation => SqlError::Constraint(text),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SchemaChanged => {
            SqlError::Conflict("another transaction holds the database".to_owned())
        }
        ErrorCode::OperationInterrupted => SqlError::Timeout("the statement took too long".to_owned()),
        ErrorCode::DiskFull => SqlError::QuotaExceeded,
        ErrorCode::OutOfMemory if memory::was_refused() => SqlError::TooLarge(format!(
            "the statement needs more than {} MiB of memory: sort, collect or change less at once",
            CONNECTION_MEMORY >> 20
        )),
        ErrorCode::OutOfMemory => SqlError::Conflict(
            "statements that sort or collect much use all memory that all databases share".to_owned(),
        ),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => SqlError::Corrupt(format!(
            "{} is damaged or not a database ({text}): restore it from a backup, or move it away to start with an \
             empty one",
            path.display()
        )),
        ErrorCode::AuthorizationForStatementDenied => SqlError::NotAllowed(text),
        ErrorCode::CannotOpen
        | ErrorCode::SystemIoFailure
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::NoLargeFileSupport => SqlError::Unavailable(format!("{}: {text}", path.display())),
        _ => SqlError::Invalid(text),
    }
}
