//! The connections of one file: a bounded number, each for one job at a time.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::connection::{ConnectionThread, IdleThreads, Replied, ThreadOrder};
use super::control::StatementControl;
use super::file::SqliteFile;
use super::{backup, closing, migrate};
use crate::database::caller::SqlCaller;
use crate::database::error::SqlError;
use crate::database::migrations::Migration;
use crate::database::turns::{ConnectionTurn, ConnectionTurns};
use crate::database::value::{SqlCommand, SqlResult};

/// The longest time that a copy takes.
const BACKUP: Duration = Duration::from_secs(24 * 3600);

/// The idle connections of each file.
static POOLS: Mutex<Vec<Weak<IdleThreads>>> = Mutex::new(Vec::new());

/// A file with its connections.
pub(in crate::database) struct Sqlite {
    file: Arc<SqliteFile>,
    turns: Arc<ConnectionTurns>,
    idle: Arc<IdleThreads>,
    /// The number of the next statement.
    next: Arc<AtomicU64>,
}

/// A connection that one job has. Dropping it rolls back what is open.
pub(in crate::database) struct SqliteLease {
    /// `None` after it has returned.
    thread: Option<(ConnectionThread, ConnectionTurn)>,
    idle: Arc<IdleThreads>,
    next: Arc<AtomicU64>,
    caller: Option<Arc<SqlCaller>>,
    /// Whether a transaction is open, or a statement may be running.
    is_open: bool,
    /// Whether a command outside of a transaction was given up. It may have begun one.
    is_given_up: bool,
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
        let idle: Arc<IdleThreads> = Arc::default();
        let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        // At powers of two alone: a walk over all files for each new one would be quadratic.
        if pools.len().is_power_of_two() {
            pools.retain(|idle| idle.strong_count() > 0);
        }
        pools.push(Arc::downgrade(&idle));
        drop(pools);
        Sqlite {
            file: Arc::new(SqliteFile::new(path, quota)),
            turns: ConnectionTurns::new(connections),
            idle,
            next: Arc::new(AtomicU64::new(1)),
        }
    }

    /// Applies migrations; see [`migrate::apply`].
    ///
    /// # Errors
    /// Those of [`migrate::apply`].
    pub(in crate::database) async fn migrate(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        let file = self.file.clone();
        blocking(move || migrate::apply(&file, &files)).await
    }

    /// Lists the migrations that are to be applied.
    ///
    /// # Errors
    /// Those of [`migrate::pending`].
    pub(in crate::database) async fn pending(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        let file = self.file.clone();
        blocking(move || migrate::pending(&file, &files)).await
    }

    /// Copies the file; see [`backup::copy`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the copy is stopped and removed.
    ///
    /// # Errors
    /// Those of [`backup::copy`].
    pub(in crate::database) async fn backup(&self) -> Result<File, SqlError> {
        const NUMBER: u64 = 1;
        self.file.check_place()?;
        let control = Arc::new(StatementControl::new(self.file.clone()));
        control.begin_own(NUMBER, BACKUP);
        let _guard = CancelGuard { control: &control, number: NUMBER };
        let (file, control) = (self.file.clone(), control.clone());
        blocking(move || backup::copy(&file.path, &control)).await
    }

    /// Starts a connection's thread from a task: this may be a thread with a lower priority, which threads inherit.
    async fn thread(&self) -> Result<ConnectionThread, SqlError> {
        let (file, idle) = (self.file.clone(), Arc::downgrade(&self.idle));
        let started = tokio::spawn(async move { ConnectionThread::start(&file, idle) });
        started.await.unwrap_or_else(|error| Err(SqlError::Unavailable(format!("no thread: {error}"))))
    }

    /// Takes the file that is at the path now, where it was removed or replaced.
    pub(in crate::database) fn adopt(&self) {
        self.file.adopt();
    }

    /// Reports whether [`adopt`](Sqlite::adopt) would take another file.
    pub(in crate::database) fn is_replaced(&self) -> bool {
        self.file.is_replaced()
    }

    /// Returns how many connections jobs have.
    pub(in crate::database) fn in_use(&self) -> usize {
        self.turns.in_use()
    }

    /// Returns a connection as soon as one is free.
    ///
    /// # Errors
    /// The system gives no thread for it.
    pub(in crate::database) async fn lease(
        &self,
        caller: Option<Arc<SqlCaller>>,
    ) -> Result<SqliteLease, SqlError> {
        let turn = self.turns.take(caller.as_ref().map(|caller| caller.line())).await;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let thread = match idle {
            Some(thread) => thread,
            None => self.thread().await?,
        };
        let (idle, next) = (self.idle.clone(), self.next.clone());
        let (is_open, is_given_up) = (false, false);
        Ok(SqliteLease { thread: Some((thread, turn)), idle, next, caller, is_open, is_given_up })
    }
}

/// Closes the connections that no job has, and waits until they are closed, but not for long. Blocks. Called before the
/// process ends: the file of a database then holds all of it, without the log of changes beside it.
pub fn wait_until_closed() {
    closing::begin();
    let pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for idle in pools.iter().filter_map(Weak::upgrade) {
        idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
    closing::wait();
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
        // Until the answer is here, in case the future is dropped.
        (self.is_open, self.is_given_up) = (true, !self.is_open);
        let guard = CancelGuard { control: &thread.control, number };
        let order = ThreadOrder::Run { number, command, caller: self.caller.clone(), reply };
        thread.orders.send(order).map_err(|_| gone())?;
        let Replied { outcome, is_open } = replied.await.map_err(|_| gone())?;
        // It has ended by itself.
        std::mem::forget(guard);
        (self.is_open, self.is_given_up) = (is_open, false);
        outcome
    }

    /// Whether the job needs this connection for its next statement.
    pub(in crate::database) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether a command outside of a transaction was given up, so that the next one needs another connection.
    pub(in crate::database) fn is_given_up(&self) -> bool {
        self.is_given_up
    }
}

impl Drop for SqliteLease {
    fn drop(&mut self) {
        let Some((thread, turn)) = self.thread.take() else { return };
        let idle = Arc::downgrade(&self.idle);
        let orders = thread.orders.clone();
        let back = move || {
            // A thread with a lower priority ends, and the connection with it.
            if let Some(idle) = idle.upgrade().filter(|_| !thread.control.is_slow()) {
                let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                if !closing::has_begun() {
                    idle.push(thread);
                }
            }
            // After the connection: with the turn, the next job finds it.
            drop(turn);
        };
        match self.is_open {
            false => back(),
            // A thread that has ended drops the order, and the permit with it.
            true => drop(orders.send(ThreadOrder::Clean(Box::new(back)))),
        }
    }
}
