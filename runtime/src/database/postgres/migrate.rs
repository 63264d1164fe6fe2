//! Applies migrations to a database on a server.

use std::time::{SystemTime, UNIX_EPOCH};

use deadpool_postgres::Object;
use tokio_postgres::Client;

use super::{failure, syntax};
use crate::database::error::SqlError;
use crate::database::limits::MIGRATION;
use crate::database::migrations::{self, AppliedMigration, Migration};

/// The lock that of several daemons one has while it applies migrations: a number that stands for this purpose.
const LOCK: i64 = 0x706f_7274_6375_6c6c;

/// Statements that would end the transaction of a migration.
const ENDING: [&str; 7] = ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE"];

/// Applies what is not applied yet, in order, each whole or not at all, and returns the names of the files.
///
/// # Errors
/// A migration fails; those before it are applied. Or an applied one has changed or is missing.
pub(super) async fn apply(connection: &Object, files: &[Migration]) -> Result<Vec<String>, SqlError> {
    let client: &Client = connection;
    let time = MIGRATION.as_millis();
    // The lock ends with the connection, if not before.
    execute(client, &format!("SET statement_timeout = {time}; SET lock_timeout = {time}")).await?;
    execute(client, &format!("SELECT pg_advisory_lock({LOCK})")).await?;
    let outcome = locked(client, files).await;
    execute(client, &format!("SELECT pg_advisory_unlock({LOCK}); RESET ALL")).await?;
    outcome
}

async fn locked(client: &Client, files: &[Migration]) -> Result<Vec<String>, SqlError> {
    execute(client, migrations::CREATE).await?;
    let mut done = Vec::new();
    for migration in migrations::pending(files, &applied(client).await?)? {
        if let Some(word) =
            syntax::first_words(&migration.sql).iter().find(|word| ENDING.contains(&word.as_str()))
        {
            let error = SqlError::Invalid(format!("a migration is one transaction: leave {word} out"));
            return Err(migrations::failed(&migration.file, &error));
        }
        if let Err(error) = one(client, migration).await {
            execute(client, "ROLLBACK").await?;
            return Err(migrations::failed(&migration.file, &error));
        }
        done.push(migration.file.clone());
    }
    Ok(done)
}

async fn one(client: &Client, Migration { number, file, sql, digest }: &Migration) -> Result<(), SqlError> {
    execute(client, "BEGIN").await?;
    execute(client, sql).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let recorded = client.execute(migrations::RECORD, &[number, file, digest, &now_ms]).await;
    recorded.map_err(|error| failure::of(&error))?;
    execute(client, "COMMIT").await
}

/// Returns the names of the files that are to be applied. Changes nothing.
///
/// # Errors
/// An applied migration has changed or is missing.
pub(super) async fn pending(connection: &Object, files: &[Migration]) -> Result<Vec<String>, SqlError> {
    let pending = migrations::pending(files, &applied(connection).await?)?;
    Ok(pending.into_iter().map(|pending| pending.file.clone()).collect())
}

async fn applied(client: &Client) -> Result<Vec<AppliedMigration>, SqlError> {
    let wrong = |error: tokio_postgres::Error| failure::of(&error);
    let known =
        client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&migrations::TABLE]).await.map_err(wrong)?;
    if !known.try_get::<_, bool>(0).map_err(wrong)? {
        return Ok(Vec::new());
    }
    let read = |row: &tokio_postgres::Row| {
        Ok(AppliedMigration { number: row.try_get(0)?, file: row.try_get(1)?, digest: row.try_get(2)? })
    };
    let rows = client.query(migrations::LIST, &[]).await.map_err(wrong)?;
    rows.iter().map(read).collect::<Result<_, _>>().map_err(wrong)
}

async fn execute(client: &Client, sql: &str) -> Result<(), SqlError> {
    client.batch_execute(sql).await.map_err(|error| failure::of(&error))
}
