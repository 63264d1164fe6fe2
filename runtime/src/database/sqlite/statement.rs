//! Runs one statement on a connection.

use std::path::Path;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ffi};

use super::authorizer::Authorizer;
use super::control::StatementControl;
use super::failure;
use super::file::SqliteFile;
use crate::database::error::SqlError;
use crate::database::limits::{self, ResultSize};
use crate::database::value::{SqlResult, SqlValue};

/// The longest statement that is kept prepared: longer ones are not written to be repeated.
const KEPT: usize = 4096;

/// Runs a statement. What it changes is kept whole or not at all.
///
/// # Errors
/// The statement is wrong, fails or returns too much; it has then changed nothing.
pub(super) fn run(
    control: &StatementControl,
    connection: &Connection,
    authorizer: &Authorizer,
    (sql, parameters): (&str, &[SqlValue]),
) -> Result<SqlResult, SqlError> {
    let file = control.file();
    authorizer.begin(sql, !connection.is_autocommit());
    let wrong = |error: rusqlite::Error| refused(authorizer, failure::of(&file.path, &error));
    if connection.is_autocommit() {
        forget_row_id(connection);
        control.set_changes_before(connection.total_changes());
    }
    if sql.len() <= KEPT {
        let mut statement = connection.prepare_cached(sql).map_err(wrong)?;
        check_log(file, connection, authorizer, (sql, &statement))?;
        run_prepared(&file.path, connection, authorizer, (&mut statement, parameters))
    } else {
        let mut statement = connection.prepare(sql).map_err(wrong)?;
        check_log(file, connection, authorizer, (sql, &statement))?;
        run_prepared(&file.path, connection, authorizer, (&mut statement, parameters))
    }
}

/// Returns the authorizer's reason instead of an error that its refusal has caused. For a refused function, SQLite reports
/// an error in the text of the statement.
fn refused(authorizer: &Authorizer, error: SqlError) -> SqlError {
    match (authorizer.take_reason(), error) {
        (Some(reason), SqlError::NotAllowed(_) | SqlError::Invalid(_)) => reason,
        (_, error) => error,
    }
}

/// Checks that the log has room, if the statement writes or may be the first of a transaction that does.
fn check_log(
    file: &SqliteFile,
    connection: &Connection,
    authorizer: &Authorizer,
    (sql, statement): (&str, &Statement<'_>),
) -> Result<(), SqlError> {
    let begins =
        |word: &str| sql.trim_start().get(..word.len()).is_some_and(|sql| sql.eq_ignore_ascii_case(word));
    match statement.readonly() && !begins("begin") && !begins("savepoint") {
        true => Ok(()),
        false => file.check_log(connection, authorizer),
    }
}

fn run_prepared(
    path: &Path,
    connection: &Connection,
    authorizer: &Authorizer,
    (statement, parameters): (&mut Statement<'_>, &[SqlValue]),
) -> Result<SqlResult, SqlError> {
    bind(path, statement, parameters)?;
    authorizer.forget_calls();
    let before = connection.total_changes();
    // `INSERT ... RETURNING` has written when its first row comes, and may then return too much.
    let may_be_undone = !statement.readonly() && statement.column_count() > 0;
    let savepoint = |sql: &str| {
        let done = authorizer.as_daemon(|| connection.execute_batch(sql));
        done.map_err(|error| failure::of(path, &error))
    };
    if may_be_undone {
        savepoint("SAVEPOINT _portcullis_statement")?;
    }
    // If the schema has changed, SQLite prepares the statement again. The authorizer may refuse it then.
    let mut result = collect(path, statement).map_err(|error| refused(authorizer, error));
    if may_be_undone {
        result = result.and_then(|rows| savepoint("RELEASE _portcullis_statement").map(|()| rows));
        if result.is_err() {
            // A release that commits may fail, of a deferred constraint or of the disk, and leaves the savepoint open.
            let undone = savepoint("ROLLBACK TO _portcullis_statement; RELEASE _portcullis_statement");
            if undone.is_err() && !connection.is_autocommit() {
                // Then nothing of the transaction is kept, rather than a part of a statement.
                savepoint("ROLLBACK")?;
            }
        }
    }
    let mut result = result?;
    // For a statement that changes no rows, `changes` is still that of an earlier one.
    result.changed = if connection.total_changes() == before { 0 } else { connection.changes() };
    result.row_id = connection.last_insert_rowid();
    Ok(result)
}

/// Sets the id of the row inserted last to 0: it may be that of another job, which had the connection before.
fn forget_row_id(connection: &Connection) {
    // SAFETY: the handle is that of an open connection, which this thread alone uses; the call sets a number in it.
    unsafe { ffi::sqlite3_set_last_insert_rowid(connection.handle(), 0) }
}

/// Binds the values: `?` by its place, `?2` and `$2` by their number.
fn bind(path: &Path, statement: &mut Statement<'_>, parameters: &[SqlValue]) -> Result<(), SqlError> {
    let mut wanted = 0;
    for place in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(place) {
            None => Some(place),
            Some(name) => name.strip_prefix(['$', '?']).and_then(|number| number.parse().ok()),
        };
        let number: usize = number.filter(|number| *number > 0).ok_or_else(|| {
            let name = statement.parameter_name(place).unwrap_or_default();
            SqlError::Invalid(format!("the parameter {name}: write $1, $2 and so on, or ?"))
        })?;
        wanted = wanted.max(number);
        // A value that is missing is reported below.
        let Some(value) = parameters.get(number - 1) else { continue };
        let bound = statement.raw_bind_parameter(place, ToSqlOutput::Borrowed(borrowed(value)));
        bound.map_err(|error| failure::of(path, &error))?;
    }
    if wanted != parameters.len() {
        let given = parameters.len();
        return Err(SqlError::Invalid(format!(
            "the statement has {wanted} parameters, and {given} values are given"
        )));
    }
    Ok(())
}

fn borrowed(value: &SqlValue) -> ValueRef<'_> {
    match value {
        SqlValue::Null => ValueRef::Null,
        SqlValue::Integer(number) => ValueRef::Integer(*number),
        SqlValue::Real(number) => ValueRef::Real(*number),
        SqlValue::Text(text) => ValueRef::Text(text.as_bytes()),
        SqlValue::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

/// Runs the statement to its end, and collects its rows.
fn collect(path: &Path, statement: &mut Statement<'_>) -> Result<SqlResult, SqlError> {
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let width = columns.len();
    let mut result = SqlResult { columns, ..SqlResult::default() };
    let mut size = ResultSize::default();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(|error| failure::of(path, &error))? {
        limits::rows(&result)?;
        let mut values = Vec::with_capacity(width);
        for place in 0..width {
            let value = owned(row.get_ref(place).map_err(|error| failure::of(path, &error))?)?;
            size.add(&value)?;
            values.push(value);
        }
        result.rows.push(values);
    }
    Ok(result)
}

fn owned(value: ValueRef<'_>) -> Result<SqlValue, SqlError> {
    Ok(match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(number) => SqlValue::Integer(number),
        ValueRef::Real(number) => SqlValue::Real(number),
        ValueRef::Text(bytes) => {
            SqlValue::Text(std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| {
                SqlError::Invalid("a text in the result is not UTF-8: select CAST(column AS BLOB)".to_owned())
            })?)
        }
        ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
    })
}
