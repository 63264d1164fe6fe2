//! Why a statement failed.

use crate::code_error::code_error;

code_error! {
    /// A statement or transaction that failed. The text says what to change.
    SqlError

    /// The kind of a failure. Unless it is said otherwise, the statement changed nothing.
    SqlErrorKind {
        /// `handler.NAME.databases` does not grant the database.
        AccessDenied = "access_denied",
        /// The statement or a value in it is wrong.
        Invalid = "invalid",
        /// The statement is not granted to handlers, such as ATTACH.
        NotAllowed = "not_allowed",
        /// A constraint of the schema: unique, foreign key, not null, check.
        Constraint = "constraint",
        /// Another transaction came first: try the transaction again.
        Conflict = "conflict",
        /// The database is full.
        QuotaExceeded = "quota_exceeded",
        /// The result is too large: use LIMIT.
        TooLarge = "too_large",
        /// This job has run as many statements as allowed, or has no memory for this one. If the memory for the result
        /// is missing, the statement is done.
        TooMany = "too_many",
        /// The statement or its transaction took too long and was stopped.
        Timeout = "timeout",
        /// The connection ended during a statement, or the server did not answer in time. It may or may not be done.
        Interrupted = "interrupted",
        /// The database cannot be reached, or is damaged.
        Unavailable = "unavailable" | "corrupt",
        /// A value of the result is not of the expected type, or a row is missing.
        Row,
    }
}
