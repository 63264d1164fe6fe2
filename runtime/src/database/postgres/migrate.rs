//! Applies migrations to a database on a server, on a connection of its own.

use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::failure;
use crate::database::error::SqlError;
use crate::database::limits::{MIGRATION, MIGRATION_LOCK};
use crate::database::migrations::{self, AppliedMigration, Migration};
use crate::database::syntax;

/// The lock that of several daemons one has while it applies migrations: a number that stands for this purpose.
const LOCK: i64 = 0x706f_7274_6375_6c6c;

/// Who has the lock. The number is in two parts there.
const HOLDER: &str = "SELECT pid, usename, application_name FROM pg_catalog.pg_stat_activity WHERE pid IN (SELECT pid \
                      FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted AND \
                      (classid::bigint << 32) + objid::bigint = $1)";

/// Statements that would end the transaction of a migration.
const ENDING: [&str; 7] = ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE"];

/// Ends what a migration has set for its session: it concerns neither the record of it nor the next migration.
const RESET: &str = "SET SESSION AUTHORIZATION DEFAULT; RESET ALL";

/// Applies what is not applied yet, in order, each whole or not at all, and returns the names of the files.
///
/// # Errors
/// A migration fails or takes too long; those before it are applied. Or an applied one has changed or is missing. Or
/// another session has the lock for too long.
pub(super) async fn apply(client: &Client, files: &[Migration]) -> Result<Vec<String>, SqlError> {
    // Without work there is no need for the lock, which others may hold.
    if pending(client, files).await?.is_empty() {
        return Ok(Vec::new());
    }
    // The lock ends with the connection.
    if let Err(error) = client.batch_execute(&format!("SELECT pg_catalog.pg_advisory_lock({LOCK})")).await {
        let is_held = error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
        return Err(if is_held { held(client).await } else { failure::of(&error) });
    }
    // A migration may have made a schema that comes first in the search path. There, `IF NOT EXISTS` would make a second
    // table, and by that one nothing is applied.
    if !has_table(client).await? {
        execute(client, migrations::CREATE).await?;
    }
    let mut done = Vec::new();
    for migration in migrations::pending(files, &applied(client).await?)? {
        if let Some(why) = refusal(&migration.sql) {
            return Err(migrations::failed(&migration.file, &SqlError::Invalid(why)));
        }
        // What was begun is rolled back with the connection.
        one(client, migration).await.map_err(|error| migrations::failed(&migration.file, &error))?;
        done.push(migration.file.clone());
    }
    Ok(done)
}

/// Returns why the statements of a migration cannot be applied; `None` if they can be tried.
fn refusal(sql: &str) -> Option<String> {
    let first = syntax::first_words(sql);
    let is_client = |word: &String| word == "STDIN" || word == "STDOUT";
    // First: the lines of data would be taken for statements.
    if first.iter().any(|word| word == "COPY") && syntax::words(sql).iter().any(is_client) {
        return Some("COPY has no client here that sends or takes its data: write INSERT".to_owned());
    }
    let ending = first.iter().find(|word| ENDING.contains(&word.as_str()));
    ending.map(|word| format!("a migration is one transaction: leave {word} out"))
}

/// Makes the error of a lock that another session has.
async fn held(client: &Client) -> SqlError {
    let holder = client.query_opt(HOLDER, &[&LOCK]).await.ok().flatten();
    let holder = holder.and_then(|row| {
        let (pid, user, program): (i32, Option<String>, Option<String>) =
            (row.try_get(0).ok()?, row.try_get(1).ok()?, row.try_get(2).ok()?);
        Some(format!("process {pid} of user {} ({})", user?, program?))
    });
    SqlError::Migration(format!(
        "another session has held the lock of migrations for {} s: {}; wait for it, or end it with \
         pg_terminate_backend",
        MIGRATION_LOCK.as_secs(),
        holder.unwrap_or_else(|| "it is gone now".to_owned())
    ))
}

/// Applies one migration, within the time of one.
async fn one(client: &Client, migration: &Migration) -> Result<(), SqlError> {
    let late = |_| SqlError::Timeout("the migration took too long".to_owned());
    timeout(MIGRATION, run(client, migration)).await.map_err(late)??;
    // The server bounds its time. A commit that is given up here may be done.
    execute(client, "COMMIT").await
}

/// Runs the statements of a migration and records it, in a transaction that stays open.
async fn run(client: &Client, Migration { number, file, sql, digest }: &Migration) -> Result<(), SqlError> {
    execute(client, "BEGIN").await?;
    // SQLite passes over the mark that editors put in front of UTF-8.
    execute(client, sql.strip_prefix('\u{feff}').unwrap_or(sql)).await?;
    execute(client, RESET).await?;
    let recorded = client.execute(migrations::RECORD, &[number, file, digest, &migrations::now_ms()]).await;
    recorded.map(drop).map_err(|error| failure::of(&error))
}

/// Returns the names of the files that are to be applied. Changes nothing.
///
/// # Errors
/// An applied migration has changed or is missing.
pub(super) async fn pending(client: &Client, files: &[Migration]) -> Result<Vec<String>, SqlError> {
    let pending = migrations::pending(files, &applied(client).await?)?;
    Ok(pending.into_iter().map(|pending| pending.file.clone()).collect())
}

async fn applied(client: &Client) -> Result<Vec<AppliedMigration>, SqlError> {
    if !has_table(client).await? {
        return Ok(Vec::new());
    }
    let wrong = |error: tokio_postgres::Error| failure::of(&error);
    let read = |row: &tokio_postgres::Row| {
        Ok(AppliedMigration { number: row.try_get(0)?, file: row.try_get(1)?, digest: row.try_get(2)? })
    };
    let rows = client.query(migrations::LIST, &[]).await.map_err(wrong)?;
    rows.iter().map(read).collect::<Result<_, _>>().map_err(wrong)
}

/// Whether the table of applied migrations is in any schema of the search path.
async fn has_table(client: &Client) -> Result<bool, SqlError> {
    let found = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&migrations::TABLE]).await;
    found.and_then(|row| row.try_get(0)).map_err(|error| failure::of(&error))
}

async fn execute(client: &Client, sql: &str) -> Result<(), SqlError> {
    client.batch_execute(sql).await.map_err(|error| failure::of(&error))
}
