//! One of the back ends, and a connection of it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::error::SqlError;
use super::migrations::Migration;
use super::postgres::{Postgres, PostgresLease};
use super::sqlite::{Sqlite, SqliteLease};
use super::url::DatabaseUrl;
use super::value::{SqlCommand, SqlResult};

/// The connections of a database.
pub(super) enum DatabaseBackend {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// A connection that one job has. Dropping it rolls back what is open.
pub(super) enum DatabaseLease {
    Sqlite(SqliteLease),
    Postgres(PostgresLease),
}

impl DatabaseBackend {
    /// Chooses the back end. Opens nothing.
    pub(super) fn new(
        url: &DatabaseUrl,
        ca: Option<PathBuf>,
        connections: usize,
        quota: Arc<AtomicU64>,
    ) -> DatabaseBackend {
        match url {
            DatabaseUrl::Sqlite(path) => {
                DatabaseBackend::Sqlite(Sqlite::new(path.clone(), connections, quota))
            }
            DatabaseUrl::Postgres(url) => {
                DatabaseBackend::Postgres(Postgres::new(url.clone(), ca, connections))
            }
        }
    }

    /// Returns a connection as soon as one is free.
    pub(super) async fn lease(&self) -> Result<DatabaseLease, SqlError> {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.lease().await.map(DatabaseLease::Sqlite),
            DatabaseBackend::Postgres(postgres) => postgres.lease().await.map(DatabaseLease::Postgres),
        }
    }

    /// Copies the database.
    pub(super) async fn backup(&self) -> Result<File, SqlError> {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.backup().await,
            DatabaseBackend::Postgres(_) => {
                Err(SqlError::Invalid("a copy is for SQLite: use pg_dump for a PostgreSQL server".to_owned()))
            }
        }
    }

    /// Returns how many connections jobs have.
    pub(super) fn in_use(&self) -> usize {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.in_use(),
            DatabaseBackend::Postgres(postgres) => postgres.in_use(),
        }
    }

    /// Applies migrations.
    pub(super) async fn migrate(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.migrate(files).await,
            DatabaseBackend::Postgres(postgres) => postgres.migrate(files).await,
        }
    }

    /// Lists the migrations that are to be applied.
    pub(super) async fn pending(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.pending(files).await,
            DatabaseBackend::Postgres(postgres) => postgres.pending(files).await,
        }
    }
}

impl DatabaseLease {
    /// Runs a command.
    pub(super) async fn run(&mut self, command: SqlCommand) -> Result<SqlResult, SqlError> {
        match self {
            DatabaseLease::Sqlite(lease) => lease.run(command).await,
            DatabaseLease::Postgres(lease) => lease.run(command).await,
        }
    }

    /// Whether the job needs this connection for its next statement.
    pub(super) fn is_open(&self) -> bool {
        match self {
            DatabaseLease::Sqlite(lease) => lease.is_open(),
            DatabaseLease::Postgres(lease) => lease.is_open(),
        }
    }
}
