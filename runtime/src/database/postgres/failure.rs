//! Converts errors of PostgreSQL.

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use super::frames;
use crate::database::error::SqlError;
use crate::database::limits::MAX_RESULT_BYTES;

/// Converts an error of a statement, which may or may not be done if the connection broke.
pub(super) fn of(error: &Error) -> SqlError {
    match error.as_db_error() {
        Some(error) => by_state(error),
        None => SqlError::Interrupted(whole(error)),
    }
}

/// Converts an error of a connection that was not made.
pub(super) fn unavailable(error: &Error) -> SqlError {
    SqlError::Unavailable(whole(error))
}

/// Returns the error with its causes.
fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn by_state(error: &DbError) -> SqlError {
    let text = match (error.detail(), error.hint()) {
        (Some(more), _) | (None, Some(more)) => format!("{} ({more})", error.message()),
        (None, None) => error.message().to_owned(),
    };
    let state = error.code();
    match state.code().get(..2) {
        _ if *state == SqlState::T_R_SERIALIZATION_FAILURE || *state == SqlState::T_R_DEADLOCK_DETECTED => {
            SqlError::Conflict("another transaction changed the same rows".to_owned())
        }
        _ if *state == SqlState::LOCK_NOT_AVAILABLE => {
            SqlError::Conflict("another transaction holds the rows".to_owned())
        }
        _ if *state == SqlState::QUERY_CANCELED => {
            SqlError::Timeout("the statement took too long".to_owned())
        }
        _ if *state == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => {
            SqlError::Timeout("the transaction was rolled back: it was open for too long".to_owned())
        }
        _ if state.code() == frames::TOO_LARGE => SqlError::TooLarge(format!(
            "the result has more than {MAX_RESULT_BYTES} bytes: select fewer columns, or parts of them"
        )),
        _ if *state == SqlState::DISK_FULL => SqlError::QuotaExceeded,
        _ if *state == SqlState::INSUFFICIENT_PRIVILEGE => SqlError::NotAllowed(text),
        Some("23") => SqlError::Constraint(text),
        Some("53") => SqlError::Unavailable(text),
        Some("57" | "58") => SqlError::Interrupted(text),
        _ => SqlError::Invalid(text),
    }
}
