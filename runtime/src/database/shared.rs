//! The databases of all handlers: one of each, however many handlers and generations use it.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::backend::{DatabaseBackend, DatabaseLease};
use super::caller::SqlCaller;
use super::counts::{SQL_OPERATIONS, SqlCounts};
use super::error::SqlError;
use super::health::DatabaseHealth;
use super::limits::{DATABASE_WAIT, STATUS};
use super::migrations::Migration;
use super::url::DatabaseUrl;
use super::value::SqlCommand;
use crate::file_place::can_be_made;

/// How a database is opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DatabaseOptions {
    /// The name in the configuration.
    pub name: String,
    /// Where it is.
    pub url: DatabaseUrl,
    /// The most bytes of the file.
    pub quota: u64,
    /// The most connections at once: jobs with an open transaction or a running statement.
    pub connections: usize,
    /// The authorities that certify the server. `None` stands for those of the system.
    pub ca: Option<DatabaseCa>,
    /// The directory of its migrations, if it has any.
    pub migrations: Option<PathBuf>,
}

/// The certificates of authorities.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DatabaseCa {
    /// The file.
    pub path: PathBuf,
    /// Its content, in PEM. With another content, connections are made anew.
    pub pem: Arc<[u8]>,
}

/// The key of a database. A new password or certificate makes another key, because it needs new connections.
type DatabasePlace = (DatabaseUrl, Option<DatabaseCa>);

/// Databases by their place, as long as a handler has them.
#[derive(Default)]
pub struct DatabasePool {
    slots: Mutex<HashMap<DatabasePlace, Weak<DatabaseSlot>>>,
    /// The runtime of the daemon; `None` stands for the one in which a job is polled.
    home: Option<Handle>,
}

/// A database with its connections.
struct DatabaseSlot {
    backend: DatabaseBackend,
    quota: Arc<AtomicU64>,
    connections: usize,
    counts: [SqlCounts; SQL_OPERATIONS.len()],
    /// Microseconds that jobs have waited for a connection.
    waited: AtomicU64,
    health: DatabaseHealth,
}

/// A database as a configuration has it.
pub struct SharedDatabase {
    options: DatabaseOptions,
    slot: Arc<DatabaseSlot>,
    home: Option<Handle>,
}

/// A database under the name that a handler has for it.
#[derive(Clone)]
pub struct DatabaseGrant {
    /// The name that the handler uses.
    pub name: String,
    /// The database.
    pub database: Arc<SharedDatabase>,
}

impl DatabasePool {
    /// Makes a pool whose connections belong to this runtime, whatever jobs are polled in.
    pub fn within(home: Option<Handle>) -> DatabasePool {
        DatabasePool { slots: Mutex::default(), home }
    }

    /// Returns the database with these options. If its place is in use with others, those stay until
    /// [`apply`](SharedDatabase::apply).
    pub fn get(&self, options: &DatabaseOptions) -> Arc<SharedDatabase> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (options.url.clone(), options.ca.clone());
        let slot = slots.get(&place).and_then(Weak::upgrade).unwrap_or_else(|| {
            // At powers of two alone: a walk over all databases for each new one would be quadratic.
            if slots.len().is_power_of_two() {
                slots.retain(|_, slot| slot.strong_count() > 0);
            }
            let slot = Arc::new(DatabaseSlot::new(options));
            slots.insert(place, Arc::downgrade(&slot));
            slot
        });
        Arc::new(SharedDatabase { options: options.clone(), slot, home: self.home.clone() })
    }
}

impl DatabaseSlot {
    fn new(options: &DatabaseOptions) -> DatabaseSlot {
        let quota = Arc::new(AtomicU64::new(options.quota));
        let DatabaseOptions { url, ca, connections, .. } = options;
        let ca = ca.as_ref().map(|ca| ca.pem.clone());
        let backend = DatabaseBackend::new(url, ca, *connections, quota.clone());
        let (counts, waited, health) = Default::default();
        DatabaseSlot { backend, quota, connections: *connections, counts, waited, health }
    }
}

impl SharedDatabase {
    /// Opens the database, and makes its file if there is none.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open(&self) -> Result<(), SqlError> {
        let opened = self.reach().await;
        self.slot.health.note(&opened);
        opened
    }

    async fn reach(&self) -> Result<(), SqlError> {
        let sql = "SELECT 1".to_owned();
        let late = || SqlError::Timeout("no connection became free".to_owned());
        let mut lease = timeout(DATABASE_WAIT, self.lease(None)).await.map_err(|_| late())??;
        lease.run(SqlCommand::Statement { sql, parameters: Vec::new() }).await.map(drop)
    }

    /// Returns why the database could not be used when it was last; `None` if it could. After a failure it is tried
    /// again, for 2 s at the most.
    pub async fn trouble(&self) -> Option<SqlError> {
        self.slot.health.error()?;
        // Without an answer, what was known stays.
        let _late = timeout(STATUS, self.open()).await;
        self.slot.health.error()
    }

    /// Applies the migrations that are not applied yet, in the order of their numbers, each whole or not at all. Returns
    /// the names of their files.
    ///
    /// # Errors
    /// A migration fails; those before it are applied. Or an applied one has changed or is missing.
    pub async fn migrate(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        self.slot.backend.migrate(files).await
    }

    /// Returns the names of the migrations that are to be applied. Changes nothing.
    ///
    /// # Errors
    /// An applied migration has changed or is missing, or the database cannot be opened.
    pub async fn pending(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        self.slot.backend.pending(files).await
    }

    /// Checks whether the database can be opened. Makes no file.
    ///
    /// # Errors
    /// It cannot be opened, or its file cannot be made.
    pub async fn examine(&self) -> Result<(), SqlError> {
        match &self.options.url {
            DatabaseUrl::Sqlite(path) if !path.exists() => can_be_made(path)
                .map_err(|error| SqlError::Unavailable(format!("{}: {error}", path.display()))),
            DatabaseUrl::Sqlite(_) | DatabaseUrl::Postgres(_) => self.open().await,
        }
    }

    /// Gives the database the options of this configuration, which is about to serve, and the file that is at its path. The
    /// number of connections of a database that is in use stays.
    pub fn apply(&self) {
        self.slot.quota.store(self.options.quota, Ordering::Relaxed);
        self.slot.backend.adopt();
        if self.slot.connections != self.options.connections {
            let name = &self.options.name;
            tracing::warn!(
                "database {name:?}: the changed number of connections takes effect when the daemon is restarted"
            );
        }
    }

    /// Reports whether the file at the path is not the open file. [`apply`](SharedDatabase::apply) takes it. Blocks.
    pub fn is_replaced(&self) -> bool {
        self.slot.backend.is_replaced()
    }

    /// Copies the database while it is in use: a file without a name, of one moment.
    ///
    /// # Errors
    /// It is on a server, or cannot be copied.
    pub async fn backup(&self) -> Result<File, SqlError> {
        self.slot.backend.backup().await
    }

    /// Returns how many connections jobs have.
    pub fn in_use(&self) -> usize {
        self.slot.backend.in_use()
    }

    /// Returns what is counted of an operation, by its name in [`SQL_OPERATIONS`].
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, &SqlCounts)> {
        SQL_OPERATIONS.into_iter().zip(&self.slot.counts)
    }

    /// Counts a command.
    pub(super) fn count<T>(&self, operation: usize, outcome: &Result<T, SqlError>, took: Duration) {
        self.slot.counts[operation].count(outcome, took);
        self.slot.health.note(outcome);
        self.slot.health.log(&self.options.name, outcome);
    }

    /// Counts the time that a job has waited for a connection.
    pub(super) fn count_wait(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.slot.waited.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns the time that jobs have waited for a connection.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.slot.waited.load(Ordering::Relaxed))
    }

    /// Returns the options of this configuration.
    pub fn options(&self) -> &DatabaseOptions {
        &self.options
    }

    /// Returns the runtime that the work of jobs runs in.
    pub(super) fn home(&self) -> Option<&Handle> {
        self.home.as_ref()
    }

    /// Returns a connection as soon as one is free.
    pub(super) async fn lease(&self, caller: Option<Arc<SqlCaller>>) -> Result<DatabaseLease, SqlError> {
        self.slot.backend.lease(caller).await
    }
}

impl DatabaseOptions {
    /// Returns the file of the database, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match &self.url {
            DatabaseUrl::Sqlite(path) => Some(path),
            DatabaseUrl::Postgres(_) => None,
        }
    }
}

impl fmt::Debug for DatabaseCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl fmt::Debug for DatabaseGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.database.options.url)
    }
}
