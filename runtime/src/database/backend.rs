//! One of the back ends, and a connection of it.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::caller::SqlCaller;
use super::error::SqlError;
use super::migrations::Migration;
#[cfg(feature = "postgres")]
use super::postgres::{Postgres, PostgresLease};
use super::sqlite::{Sqlite, SqliteLease};
use super::url::DatabaseUrl;
use super::value::{SqlCommand, SqlResult};

/// The connections of a database.
pub(super) enum DatabaseBackend {
    Sqlite(Sqlite),
    #[cfg(feature = "postgres")]
    Postgres(Box<Postgres>),
}

/// A connection that one job has. Dropping it rolls back what is open.
pub(super) enum DatabaseLease {
    Sqlite(SqliteLease),
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresLease>),
}

impl DatabaseBackend {
    /// Chooses the back end. Opens nothing.
    pub(super) fn new(
        url: &DatabaseUrl,
        #[cfg_attr(
            not(feature = "postgres"),
            expect(unused_variables, reason = "a file needs no authority")
        )]
        ca: Option<Arc<[u8]>>,
        connections: usize,
        quota: Arc<AtomicU64>,
    ) -> DatabaseBackend {
        match url {
            DatabaseUrl::Sqlite(path) => {
                DatabaseBackend::Sqlite(Sqlite::new(path.clone(), connections, quota))
            }
            #[cfg(feature = "postgres")]
            DatabaseUrl::Postgres(url) => {
                DatabaseBackend::Postgres(Box::new(Postgres::new(url.clone(), ca, connections)))
            }
            #[cfg(not(feature = "postgres"))]
            DatabaseUrl::Postgres(none) => match *none {},
        }
    }

    /// Returns a connection as soon as one is free.
    pub(super) async fn lease(&self, caller: Option<Arc<SqlCaller>>) -> Result<DatabaseLease, SqlError> {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.lease(caller).await.map(DatabaseLease::Sqlite),
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(postgres) => {
                let line = caller.map(|caller| caller.line());
                postgres.lease(line).await.map(|lease| DatabaseLease::Postgres(Box::new(lease)))
            }
        }
    }

    /// Copies the database.
    pub(super) async fn backup(&self) -> Result<File, SqlError> {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.backup().await,
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(_) => {
                Err(SqlError::Invalid("a copy is for SQLite: use pg_dump for a PostgreSQL server".to_owned()))
            }
        }
    }

    /// Takes the file that is at the path now, where it was removed or replaced.
    pub(super) fn adopt(&self) {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.adopt(),
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(_) => {}
        }
    }

    /// Reports whether [`adopt`](DatabaseBackend::adopt) would take another file.
    pub(super) fn is_replaced(&self) -> bool {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.is_replaced(),
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(_) => false,
        }
    }

    /// Returns how many connections jobs have.
    pub(super) fn in_use(&self) -> usize {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.in_use(),
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(postgres) => postgres.in_use(),
        }
    }

    /// Applies migrations.
    pub(super) async fn migrate(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.migrate(files).await,
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(postgres) => postgres.migrate(files).await,
        }
    }

    /// Lists the migrations that are to be applied.
    pub(super) async fn pending(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        match self {
            DatabaseBackend::Sqlite(sqlite) => sqlite.pending(files).await,
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(postgres) => postgres.pending(files).await,
        }
    }
}

impl DatabaseLease {
    /// Runs a command.
    pub(super) async fn run(&mut self, command: SqlCommand) -> Result<SqlResult, SqlError> {
        match self {
            DatabaseLease::Sqlite(lease) => lease.run(command).await,
            #[cfg(feature = "postgres")]
            DatabaseLease::Postgres(lease) => lease.run(command).await,
        }
    }

    /// Whether a command outside of a transaction was given up, so that the next one needs another connection.
    pub(super) fn is_given_up(&self) -> bool {
        match self {
            DatabaseLease::Sqlite(lease) => lease.is_given_up(),
            #[cfg(feature = "postgres")]
            DatabaseLease::Postgres(lease) => lease.is_given_up(),
        }
    }

    /// Whether the job needs this connection for its next statement.
    pub(super) fn is_open(&self) -> bool {
        match self {
            DatabaseLease::Sqlite(lease) => lease.is_open(),
            #[cfg(feature = "postgres")]
            DatabaseLease::Postgres(lease) => lease.is_open(),
        }
    }
}
