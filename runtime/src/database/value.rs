//! Statements, the values in them, and their results.

use super::syntax;

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
    pub fn length(&self) -> usize {
        match self {
            SqlValue::Null | SqlValue::Integer(_) | SqlValue::Real(_) => 0,
            SqlValue::Text(text) => text.len(),
            SqlValue::Blob(bytes) => bytes.len(),
        }
    }
}

/// A command of a job to its connection.
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
                let words = syntax::leading_words(sql, 6);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let rest = match &words[..] {
                    ["ROLLBACK" | "ABORT", "TRANSACTION" | "WORK", rest @ ..] => rest,
                    ["ROLLBACK" | "ABORT", rest @ ..] => rest,
                    _ => return false,
                };
                matches!(rest, [] | ["AND", "NO", "CHAIN"])
            }
        }
    }

    /// Whether this ends a transaction and keeps it.
    #[cfg(feature = "postgres")]
    pub(super) fn is_commit(&self) -> bool {
        match self {
            SqlCommand::Commit => true,
            SqlCommand::Begin | SqlCommand::Rollback => false,
            SqlCommand::Statement { sql, .. } => {
                let words = syntax::leading_words(sql, 1);
                words.first().is_some_and(|word| word == "COMMIT" || word == "END")
            }
        }
    }

    /// Whether this ends a transaction, and begins the next one at once.
    #[cfg(feature = "postgres")]
    pub(super) fn is_chained(&self) -> bool {
        match self {
            SqlCommand::Begin | SqlCommand::Commit | SqlCommand::Rollback => false,
            SqlCommand::Statement { sql, .. } => {
                let words = syntax::leading_words(sql, 4);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                matches!(
                    words[..],
                    ["COMMIT" | "END" | "ROLLBACK" | "ABORT", .., before, "CHAIN"] if before != "NO"
                )
            }
        }
    }
}

/// The result of a statement.
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

impl SqlResult {
    /// Returns the bytes of memory that the values of the rows have.
    pub fn size(&self) -> usize {
        self.rows.iter().flatten().map(|value| size_of::<SqlValue>() + value.length()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(sql: &str) -> SqlCommand {
        SqlCommand::Statement { sql: sql.to_owned(), parameters: Vec::new() }
    }

    #[test]
    fn a_rollback_is_known_however_it_is_written() {
        for sql in [
            "rollback",
            "ROLLBACK;",
            "/* x */ Rollback -- now\n transaction ;",
            "abort",
            "rollback work",
            "rollback and no chain",
            "abort work and no chain;",
        ] {
            assert!(statement(sql).is_rollback(), "{sql}");
        }
        for sql in
            ["rollback to a", "rollback transaction to a", "rollback and chain", "select 'rollback'", ""]
        {
            assert!(!statement(sql).is_rollback(), "{sql}");
        }
    }

    #[test]
    #[cfg(feature = "postgres")]
    fn a_commit_is_known_and_whether_another_transaction_follows() {
        assert!(statement("End;").is_commit() && !statement("endless").is_commit());
        for sql in ["commit and chain", "END work and chain;", "rollback and chain"] {
            assert!(statement(sql).is_chained(), "{sql}");
        }
        for sql in ["commit", "commit and no chain", "end work and no chain", "select 1 and chain"] {
            assert!(!statement(sql).is_chained(), "{sql}");
        }
    }
}
