//! Why a statement failed.

use std::fmt;

/// A statement or transaction that failed. The text says what to change.
pub struct SqlError {
    kind: SqlErrorKind,
    message: String,
}

/// The kind of a failure. Unless it is said otherwise, the statement changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SqlErrorKind {
    /// `handler.NAME.databases` does not grant the database.
    AccessDenied,
    /// The statement or a value in it is wrong.
    Invalid,
    /// The statement is not granted to handlers, such as ATTACH.
    NotAllowed,
    /// A constraint of the schema: unique, foreign key, not null, check.
    Constraint,
    /// Another transaction came first: try the transaction again.
    Conflict,
    /// The database is full.
    QuotaExceeded,
    /// The result is too large: use LIMIT.
    TooLarge,
    /// This job has run as many statements as allowed.
    TooMany,
    /// The statement or its transaction took too long.
    Timeout,
    /// The connection ended during a statement, which may or may not be done.
    Interrupted,
    /// The database cannot be reached, or is damaged.
    Unavailable,
    /// A value of the result is not of the expected type, or a row is missing.
    Row,
    /// A failure that this version of the SDK does not know.
    Other,
}

impl SqlError {
    pub(super) fn new(kind: SqlErrorKind, message: impl Into<String>) -> SqlError {
        SqlError { kind, message: message.into() }
    }

    /// Makes an error from a code of the daemon and its message.
    #[cfg_attr(
        not(all(target_os = "wasi", target_env = "p1")),
        allow(dead_code, reason = "there is no daemon to say it")
    )]
    pub(super) fn of(code: &str, message: impl Into<String>) -> SqlError {
        let kind = match code {
            "access_denied" => SqlErrorKind::AccessDenied,
            "invalid" => SqlErrorKind::Invalid,
            "not_allowed" => SqlErrorKind::NotAllowed,
            "constraint" => SqlErrorKind::Constraint,
            "conflict" => SqlErrorKind::Conflict,
            "quota_exceeded" => SqlErrorKind::QuotaExceeded,
            "too_large" => SqlErrorKind::TooLarge,
            "too_many" => SqlErrorKind::TooMany,
            "timeout" => SqlErrorKind::Timeout,
            "interrupted" => SqlErrorKind::Interrupted,
            "unavailable" | "corrupt" => SqlErrorKind::Unavailable,
            _ => SqlErrorKind::Other,
        };
        SqlError { kind, message: message.into() }
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> SqlErrorKind {
        self.kind
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl std::error::Error for SqlError {}
