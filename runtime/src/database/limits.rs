//! Bounds on statements, results and waits, the same for every back end.

use std::time::Duration;

use super::error::SqlError;
use super::value::{SqlCommand, SqlResult, SqlValue};

/// Bytes of the longest statement: data belongs into parameters. SQLite's guide to hostile SQL names this figure.
pub const MAX_SQL: usize = 100_000;

/// Bytes of the largest migration, a file of statements: an operator has written it. Data is loaded in other ways.
pub const MAX_MIGRATION: usize = 1 << 20;

/// Parameters of one statement. A batch of rows with more is better split.
pub const MAX_PARAMETERS: usize = 1000;

/// Bytes of all parameters of one statement, which are held in memory.
pub const MAX_PARAMETER_BYTES: usize = 8 << 20;

/// Bytes of the largest text or blob, and of the largest row in SQLite: the bound that stores have on a value. A function
/// of SQLite cannot be stopped; on values of this length each takes some milliseconds, and a pattern some hundreds.
pub(super) const MAX_VALUE: usize = 1_000_000;

/// Calls of functions in one statement for SQLite: calls in a row cannot be stopped either. The same as [`MAX_PARAMETERS`].
pub(super) const FUNCTION_CALLS: u32 = 1000;

/// The calls for which a LIKE or GLOB counts: its time grows with the product of the lengths of text and pattern.
pub(super) const PATTERN_CALLS: u32 = 20;

/// Arguments of one function of SQLite.
pub(super) const FUNCTION_ARGUMENTS: i32 = 127;

/// Rows of one result. A page has hundreds; a report is read in pieces.
pub(super) const MAX_ROWS: usize = 10_000;

/// Bytes of one result, which is held in memory by the daemon and by the guest.
pub(super) const MAX_RESULT_BYTES: usize = 8 << 20;

/// Bytes that each value of a result counts beside its content.
const PER_VALUE: usize = size_of::<SqlValue>();

/// The longest wait for a free connection, for another transaction, or for a database that is opened.
pub(super) const DATABASE_WAIT: Duration = Duration::from_secs(5);

/// Bytes of memory of one connection to an SQLite file, sorting and the undo log of a statement included.
pub(super) const CONNECTION_MEMORY: i64 = 64 << 20;

/// Bytes of this memory that each connection has for itself. The cache of pages takes 2 MB of them, and a large schema some.
pub(super) const OWN_MEMORY: i64 = 8 << 20;

/// Bytes that all connections of the process share, beyond what each has for itself.
pub(super) const SHARED_MEMORY: i64 = 192 << 20;

/// The longest wait of `status` for a database that could not be reached.
pub(super) const STATUS: Duration = Duration::from_secs(2);

/// The longest statement, if `limits.time` of the job allows as much.
pub(super) const STATEMENT: Duration = Duration::from_secs(30);

/// The longest transaction: while it is open, others may wait for it, and the log of changes grows.
pub(super) const TRANSACTION: Duration = Duration::from_secs(30);

/// The time of a reader while the log of an SQLite file is too long: the next write waits for it.
pub(super) const CROWDED: Duration = Duration::from_secs(1);

/// Bytes that the log of changes of an SQLite file may always have. Beyond that a transaction may be refused. It is twice
/// of what SQLite moves into the file at a time (1000 pages of 4 KiB).
pub(super) const LOG_LEAST: u64 = 8 << 20;

/// The longest migration, which may rebuild a table. Each of those that are applied together has this time.
pub(super) const MIGRATION: Duration =
    if cfg!(test) { Duration::from_secs(3) } else { Duration::from_secs(600) };

/// The longest wait for another daemon that applies migrations: longer than a transaction of a handler, which could hold
/// the same lock.
#[cfg(feature = "postgres")]
pub(super) const MIGRATION_LOCK: Duration = Duration::from_secs(60);

/// Counts the bytes of a result while it is read.
#[derive(Default)]
pub(super) struct ResultSize {
    bytes: usize,
}

impl ResultSize {
    /// Adds a value.
    ///
    /// # Errors
    /// The result is too large.
    pub(super) fn add(&mut self, value: &SqlValue) -> Result<(), SqlError> {
        self.add_bytes(value.length())
    }

    /// Adds a value of this length, before it is copied.
    ///
    /// # Errors
    /// The result is too large.
    pub(super) fn add_bytes(&mut self, length: usize) -> Result<(), SqlError> {
        self.add_more(PER_VALUE.saturating_add(length))
    }

    /// Adds bytes to the last value.
    ///
    /// # Errors
    /// The result is too large.
    pub(super) fn add_more(&mut self, bytes: usize) -> Result<(), SqlError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_RESULT_BYTES {
            return Err(SqlError::TooLarge(format!(
                "the result has more than {MAX_RESULT_BYTES} bytes: select fewer columns, or use LIMIT"
            )));
        }
        Ok(())
    }
}

/// Checks that a result may have one more row.
pub(super) fn rows(result: &SqlResult) -> Result<(), SqlError> {
    if result.rows.len() >= MAX_ROWS {
        return Err(SqlError::TooLarge(format!("the result has more than {MAX_ROWS} rows: use LIMIT")));
    }
    Ok(())
}

/// Checks a statement and its parameters.
pub(super) fn command(command: &SqlCommand) -> Result<(), SqlError> {
    let SqlCommand::Statement { sql, parameters } = command else { return Ok(()) };
    let invalid = |what: String| Err(SqlError::Invalid(what));
    if sql.len() > MAX_SQL {
        let length = sql.len();
        return invalid(format!(
            "a statement has {MAX_SQL} bytes at most, and this one has {length}: pass data as parameters"
        ));
    }
    // SQLite would run what stands before it, and PostgreSQL's protocol ends a text with it.
    if sql.contains('\0') {
        return invalid("a statement holds no NUL: pass data as parameters".to_owned());
    }
    // Of too many, a guest's are counted no further than this.
    if parameters.len() > MAX_PARAMETERS {
        return invalid(format!(
            "a statement has {MAX_PARAMETERS} parameters at most, and this one has more"
        ));
    }
    if let Some(large) = parameters.iter().map(SqlValue::length).find(|length| *length > MAX_VALUE) {
        return invalid(format!("a value has {MAX_VALUE} bytes at most, and this one has {large}"));
    }
    let bytes: usize = parameters.iter().map(SqlValue::length).sum();
    if bytes > MAX_PARAMETER_BYTES {
        return invalid(format!(
            "parameters have {MAX_PARAMETER_BYTES} bytes at most together, and these have {bytes}"
        ));
    }
    Ok(())
}
