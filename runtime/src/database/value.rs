//! Statements, the values in them, and their results.

/// A value in a statement or a result.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlValue {
    /// NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl SqlValue {
    /// Returns the bytes of a text or blob.
    pub(super) fn length(&self) -> usize {
        match self {
            SqlValue::Null | SqlValue::Integer(_) | SqlValue::Real(_) => 0,
            SqlValue::Text(text) => text.len(),
            SqlValue::Blob(bytes) => bytes.len(),
        }
    }
}

/// What a job asks of its connection.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlCommand {
    /// Begins a transaction that may write.
    Begin,
    /// Ends it; everything in it is kept.
    Commit,
    /// Ends it; nothing in it is kept.
    Rollback,
    /// Runs one statement.
    Statement {
        /// The statement, with `$1` or `?` for parameters.
        sql: String,
        /// The values of the parameters.
        parameters: Vec<SqlValue>,
    },
}

impl SqlCommand {
    /// Whether this ends a transaction without keeping it.
    pub(super) fn is_rollback(&self) -> bool {
        match self {
            SqlCommand::Rollback => true,
            SqlCommand::Begin | SqlCommand::Commit => false,
            SqlCommand::Statement { sql, .. } => {
                sql.trim().trim_end_matches(';').trim_end().eq_ignore_ascii_case("rollback")
            }
        }
    }
}

/// What a statement returned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SqlResult {
    /// The names of the columns; empty if the statement returns no rows.
    pub columns: Vec<String>,
    /// On a server, the names of their types; empty in SQLite, where each value has a type of its own.
    pub types: Vec<String>,
    /// The rows, each with a value for every column.
    pub rows: Vec<Vec<SqlValue>>,
    /// The rows that the statement inserted, updated or deleted.
    pub changed: u64,
    /// In SQLite, the id of the row that this statement, or its transaction until now, inserted last; 0 if there is
    /// none, and on a server.
    pub row_id: i64,
}
