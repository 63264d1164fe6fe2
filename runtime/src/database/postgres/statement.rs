//! Runs one statement on a connection.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio_postgres::{Client, Row};

use super::failure;
use super::look_ups::TypeLookUps;
use super::types::{PostgresParameter, RawValue, type_name};
use crate::database::error::SqlError;
use crate::database::limits::{self, ResultSize};
use crate::database::syntax;
use crate::database::value::{SqlResult, SqlValue};

/// First words of statements that change nothing that has to be undone.
const READING: [&str; 6] = ["SELECT", "VALUES", "TABLE", "SHOW", "EXPLAIN", "FETCH"];

/// Runs a statement, and notes the types that it has looked up.
///
/// # Errors
/// The statement is wrong, fails or returns too much. Outside of a transaction it has then changed nothing.
pub(super) async fn run(
    client: &Client,
    sql: &str,
    parameters: &[SqlValue],
    is_open: bool,
    look_ups: &mut TypeLookUps,
) -> Result<SqlResult, SqlError> {
    let first = syntax::leading_words(sql, 1).pop().unwrap_or_default();
    let writes = |word: &String| ["INSERT", "UPDATE", "DELETE", "MERGE"].contains(&word.as_str());
    let is_reading =
        READING.contains(&first.as_str()) || first == "WITH" && !syntax::words(sql).iter().any(writes);
    let prepared = client.prepare(&syntax::numbered(sql)).await;
    let statement = prepared.map_err(|error| {
        look_ups.note_failure(&error);
        failure::of(&error)
    })?;
    look_ups.note(&statement);
    let (wanted, given) = (statement.params().len(), parameters.len());
    if wanted != given {
        return Err(SqlError::Invalid(format!(
            "the statement has {wanted} parameters, and {given} values are given"
        )));
    }
    // `INSERT ... RETURNING` has written when its rows come, and may then return too much.
    let is_undone = !is_open && !is_reading && !statement.columns().is_empty();
    let transaction = async |sql: &str| client.batch_execute(sql).await.map_err(|error| failure::of(&error));
    if is_undone {
        transaction("BEGIN").await?;
    }
    let outcome = collect(client, &statement, parameters).await;
    if is_undone {
        transaction(if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    }
    let mut result = outcome?;
    if is_reading {
        // Of a query this is the number of its rows.
        result.changed = 0;
    }
    Ok(result)
}

async fn collect(
    client: &Client,
    statement: &tokio_postgres::Statement,
    parameters: &[SqlValue],
) -> Result<SqlResult, SqlError> {
    let columns = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let types = statement.columns().iter().map(|column| type_name(column.type_()).to_owned()).collect();
    let mut result = SqlResult { columns, types, ..SqlResult::default() };
    let mut size = ResultSize::default();
    let rows = client
        .query_raw(statement, parameters.iter().map(PostgresParameter))
        .await
        .map_err(|error| value(&error))?;
    let mut rows = pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(|error| failure::of(&error))? {
        limits::rows(&result)?;
        result.rows.push(values(&row, &mut size)?);
    }
    result.changed = rows.rows_affected().unwrap_or(0);
    Ok(result)
}

fn values(row: &Row, size: &mut ResultSize) -> Result<Vec<SqlValue>, SqlError> {
    let mut values = Vec::with_capacity(row.len());
    for place in 0..row.len() {
        let raw: RawValue<'_> = row.try_get(place).map_err(|error| value(&error))?;
        // Before it is copied; its text may be longer.
        size.add_bytes(raw.length())?;
        let one = raw.value().map_err(|error| SqlError::Invalid(error.to_string()))?;
        size.add_more(one.length().saturating_sub(raw.length()))?;
        values.push(one);
    }
    Ok(values)
}

/// Converts an error of a value on its way to or from the server, or another error of a statement.
fn value(error: &tokio_postgres::Error) -> SqlError {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (None, Some(source)) if !error.is_closed() && source.downcast_ref::<std::io::Error>().is_none() => {
            SqlError::Invalid(source.to_string())
        }
        _ => failure::of(error),
    }
}
