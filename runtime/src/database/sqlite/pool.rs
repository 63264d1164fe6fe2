//! The connections of one file: a bounded number, each for one job at a time.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::connection::{ConnectionThread, Replied, ThreadOrder};
use super::control::StatementControl;
use super::{backup, migrate};
use crate::database::error::SqlError;
use crate::database::migrations::Migration;
use crate::database::value::{SqlCommand, SqlResult};

/// A file with its connections.
pub(in crate::database) struct Sqlite {
    path: PathBuf,
    quota: Arc<AtomicU64>,
    connections: usize,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<ConnectionThread>>>,
    /// The number of the next statement.
    next: Arc<AtomicU64>,
}

/// A connection that one job has. Dropping it rolls back what is open.
pub(in crate::database) struct SqliteLease {
    /// `None` after it has returned.
    thread: Option<(ConnectionThread, OwnedSemaphorePermit)>,
    idle: Arc<Mutex<Vec<ConnectionThread>>>,
    next: Arc<AtomicU64>,
    /// Whether a transaction is open, or a statement may be running.
    is_open: bool,
}

/// Stops a statement unless it has ended.
struct CancelGuard<'a> {
    control: &'a StatementControl,
    number: u64,
}

impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        self.control.cancel(self.number);
    }
}

impl Sqlite {
    pub(in crate::database) fn new(path: PathBuf, connections: usize, quota: Arc<AtomicU64>) -> Sqlite {
        Sqlite {
            path,
            quota,
            connections,
            permits: Arc::new(Semaphore::new(connections)),
            idle: Arc::default(),
            next: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Applies migrations; see [`migrate::apply`].
    ///
    /// # Errors
    /// Those of [`migrate::apply`].
    pub(in crate::database) async fn migrate(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        let (path, quota) = (self.path.clone(), self.quota.clone());
        blocking(move || migrate::apply(&path, quota, &files)).await
    }

    /// Lists the migrations that are to be applied.
    ///
    /// # Errors
    /// Those of [`migrate::pending`].
    pub(in crate::database) async fn pending(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        let (path, quota) = (self.path.clone(), self.quota.clone());
        blocking(move || migrate::pending(&path, quota, &files)).await
    }

    /// Copies the file; see [`backup::copy`].
    ///
    /// # Errors
    /// Those of [`backup::copy`].
    pub(in crate::database) async fn backup(&self) -> Result<File, SqlError> {
        let path = self.path.clone();
        blocking(move || backup::copy(&path)).await
    }

    /// Returns how many connections jobs have.
    pub(in crate::database) fn in_use(&self) -> usize {
        self.connections.saturating_sub(self.permits.available_permits())
    }

    /// Returns a connection as soon as one is free.
    ///
    /// # Errors
    /// The system gives no thread for it.
    pub(in crate::database) async fn lease(&self) -> Result<SqliteLease, SqlError> {
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| SqlError::Unavailable("the database is closed".to_owned()))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let thread = match idle {
            Some(thread) => thread,
            None => ConnectionThread::start(self.path.clone(), StatementControl::new(self.quota.clone()))?,
        };
        let (idle, next) = (self.idle.clone(), self.next.clone());
        Ok(SqliteLease { thread: Some((thread, permit)), idle, next, is_open: false })
    }
}

/// Runs work that waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
) -> Result<T, SqlError> {
    let ended = |error| SqlError::Unavailable(format!("the work was ended: {error}"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(ended(error)))
}

impl SqliteLease {
    /// Runs a command. If the future is dropped, the command is stopped, and what it changed is rolled back.
    ///
    /// # Errors
    /// Those of the command.
    pub(in crate::database) async fn run(&mut self, command: SqlCommand) -> Result<SqlResult, SqlError> {
        let gone = || SqlError::Unavailable("the connection is closed".to_owned());
        let Some((thread, _)) = &self.thread else { return Err(gone()) };
        let (reply, replied) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.is_open = true;
        let guard = CancelGuard { control: &thread.control, number };
        thread.orders.send(ThreadOrder::Run { number, command, reply }).map_err(|_| gone())?;
        let Replied { outcome, is_open } = replied.await.map_err(|_| gone())?;
        // It has ended by itself.
        std::mem::forget(guard);
        self.is_open = is_open;
        outcome
    }

    /// Whether the job needs this connection for its next statement.
    pub(in crate::database) fn is_open(&self) -> bool {
        self.is_open
    }
}

impl Drop for SqliteLease {
    fn drop(&mut self) {
        let Some((thread, permit)) = self.thread.take() else { return };
        let idle = Arc::downgrade(&self.idle);
        let orders = thread.orders.clone();
        let back = move || {
            if let Some(idle) = idle.upgrade() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
            }
            // After the connection: with the permit, the next job finds it.
            drop(permit);
        };
        match self.is_open {
            false => back(),
            // A thread that has ended drops the order, and the permit with it.
            true => drop(orders.send(ThreadOrder::Clean(Box::new(back)))),
        }
    }
}
