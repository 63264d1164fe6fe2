//! Why a statement or a transaction failed.

use std::fmt;

/// Why a statement failed. Unless the variant says otherwise, the statement changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlError {
    /// The statement, or a value in it, is wrong. The text says how.
    Invalid(String),
    /// The statement is not granted to handlers. The text names what is refused.
    NotAllowed(String),
    /// A constraint of the schema: unique, foreign key, not null, check.
    Constraint(String),
    /// Another transaction came first. The same transaction may succeed when it is tried again.
    Conflict(String),
    /// The database would be larger than its quota.
    QuotaExceeded,
    /// The result is larger than one statement may return, or the statement needs too much memory.
    TooLarge(String),
    /// The statement or its transaction took too long and was stopped, or no connection became free in time.
    Timeout(String),
    /// The database cannot be reached.
    Unavailable(String),
    /// The connection ended during a statement, or the server did not answer in time. It may or may not have been done.
    Interrupted(String),
    /// The file is not a database, or is damaged. The text says what to do.
    Corrupt(String),
    /// A migration cannot be applied, or does not match those that are. The text says what to do.
    Migration(String),
}

impl SqlError {
    /// Returns the word for programs: part of the interface that guests see.
    pub fn code(&self) -> &'static str {
        match self {
            SqlError::Invalid(_) => "invalid",
            SqlError::NotAllowed(_) => "not_allowed",
            SqlError::Constraint(_) => "constraint",
            SqlError::Conflict(_) => "conflict",
            SqlError::QuotaExceeded => "quota_exceeded",
            SqlError::TooLarge(_) => "too_large",
            SqlError::Timeout(_) => "timeout",
            SqlError::Unavailable(_) => "unavailable",
            SqlError::Interrupted(_) => "interrupted",
            SqlError::Corrupt(_) => "corrupt",
            SqlError::Migration(_) => "migration",
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlError::Invalid(what)
            | SqlError::NotAllowed(what)
            | SqlError::Constraint(what)
            | SqlError::TooLarge(what)
            | SqlError::Timeout(what)
            | SqlError::Corrupt(what)
            | SqlError::Migration(what) => f.write_str(what),
            SqlError::Conflict(what) => write!(f, "{what}: try the transaction again"),
            SqlError::QuotaExceeded => {
                f.write_str("the database is full: delete rows, raise `quota`, or free space on its disk")
            }
            SqlError::Unavailable(why) => write!(f, "the database cannot be reached: {why}"),
            SqlError::Interrupted(why) => {
                write!(f, "no answer to a statement, which may or may not be done: {why}")
            }
        }
    }
}

impl std::error::Error for SqlError {}
