//! Applies migrations to a file, on a connection of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::authorizer::{Author, Authorizer};
use super::control::StatementControl;
use super::file::SqliteFile;
use super::{failure, open};
use crate::database::error::SqlError;
use crate::database::limits::MIGRATION;
use crate::database::migrations::{self, AppliedMigration, Migration};

/// The longest wait for another process that holds the file, for example because it applies migrations too.
const MIGRATION_WAIT: Duration = Duration::from_secs(60);

/// A connection that applies migrations.
struct MigratingConnection<'p> {
    path: &'p Path,
    control: Arc<StatementControl>,
    authorizer: Authorizer,
    connection: Connection,
}

/// Applies what is not applied yet, in order, each whole or not at all, and returns the names of the files. Blocks.
///
/// # Errors
/// A migration fails or takes too long; those before it are applied. Or an applied one has changed or is missing.
pub(super) fn apply(file: &Arc<SqliteFile>, files: &[Migration]) -> Result<Vec<String>, SqlError> {
    let migrating = MigratingConnection::open(file)?;
    migrating.execute(migrations::CREATE)?;
    let mut done = Vec::new();
    for migration in migrations::pending(files, &migrating.applied()?)? {
        if migrating.apply(files, migration)? {
            done.push(migration.file.clone());
        }
    }
    Ok(done)
}

/// Returns the names of the files that are to be applied. Changes nothing. Blocks.
///
/// # Errors
/// An applied migration has changed or is missing, or the file cannot be opened.
pub(super) fn pending(file: &Arc<SqliteFile>, files: &[Migration]) -> Result<Vec<String>, SqlError> {
    let is_there = file.path.exists();
    let applied = if is_there { MigratingConnection::open(file)?.applied()? } else { Vec::new() };
    Ok(migrations::pending(files, &applied)?.into_iter().map(|pending| pending.file.clone()).collect())
}

impl MigratingConnection<'_> {
    fn open(file: &Arc<SqliteFile>) -> Result<MigratingConnection<'_>, SqlError> {
        let path = &file.path;
        let control = Arc::new(StatementControl::new(file.clone()));
        control.begin_own(1, MIGRATION);
        let authorizer = Authorizer::new(Author::Daemon);
        let connection = open::open(path, &control, &authorizer)?;
        open::bound(&connection, file.quota())
            .and_then(|()| open::lift_for_migrations(&connection))
            .map_err(|error| failure::of(path, &error))?;
        Ok(MigratingConnection { path, control, authorizer, connection })
    }

    fn execute(&self, sql: &str) -> Result<(), SqlError> {
        self.connection.execute_batch(sql).map_err(|error| match self.authorizer.take_reason() {
            Some(reason) => reason,
            None => failure::of(self.path, &error),
        })
    }

    fn applied(&self) -> Result<Vec<AppliedMigration>, SqlError> {
        let wrong = |error: rusqlite::Error| failure::of(self.path, &error);
        if !self.connection.table_exists(None, migrations::TABLE).map_err(wrong)? {
            return Ok(Vec::new());
        }
        let mut list = self.connection.prepare(migrations::LIST).map_err(wrong)?;
        let rows = list.query_map([], |row| {
            Ok(AppliedMigration { number: row.get(0)?, file: row.get(1)?, digest: row.get(2)? })
        });
        rows.and_then(Iterator::collect).map_err(wrong)
    }

    /// Applies one migration. Returns whether it was this process that did.
    fn apply(&self, files: &[Migration], migration: &Migration) -> Result<bool, SqlError> {
        let failed = |error: SqlError| migrations::failed(&migration.file, &error);
        self.begin().map_err(failed)?;
        let outcome = self.applied().and_then(|applied| {
            // Another daemon may have been faster; of both, one sees the row of the other.
            if !migrations::pending(files, &applied)?.contains(&migration) {
                return Ok(false);
            }
            self.authorizer.set(Author::Migration);
            let done = self.execute(&migration.sql);
            self.authorizer.set(Author::Daemon);
            let kept = done.and_then(|()| self.record(migration)).and_then(|()| self.execute("COMMIT"));
            kept.map(|()| true).map_err(failed)
        });
        if !self.connection.is_autocommit() {
            self.execute("ROLLBACK")?;
        }
        outcome
    }

    /// Begins the transaction of a migration, as soon as no other process has one. Its time begins then.
    fn begin(&self) -> Result<(), SqlError> {
        self.control.begin_own(1, MIGRATION_WAIT);
        let begun = Instant::now();
        let mut outcome = self.execute("BEGIN IMMEDIATE");
        while matches!(outcome, Err(SqlError::Conflict(_))) && begun.elapsed() < MIGRATION_WAIT {
            outcome = self.execute("BEGIN IMMEDIATE");
        }
        self.control.begin_own(1, MIGRATION);
        outcome
    }

    fn record(&self, Migration { number, file, digest, .. }: &Migration) -> Result<(), SqlError> {
        let row = (number, file, digest, migrations::now_ms());
        let recorded = self.connection.execute(migrations::RECORD, row);
        recorded.map(drop).map_err(|error| failure::of(self.path, &error))
    }
}
