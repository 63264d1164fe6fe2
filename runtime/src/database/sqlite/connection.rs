//! The thread of one connection: it runs the statements of the job that has the connection, and cleans up after it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::oneshot;

use super::authorizer::{Author, Authorizer};
use super::closing::OpenMark;
use super::control::{StatementControl, StatementTerms};
use super::file::SqliteFile;
use super::{backup, failure, memory, open, statement};
use crate::database::caller::SqlCaller;
use crate::database::error::SqlError;
use crate::database::limits::{CONNECTION_MEMORY, STATEMENT, TRANSACTION};
use crate::database::value::{SqlCommand, SqlResult};
use crate::file_place::FileIdentity;

/// The stack of a connection's thread: SQLite's parser recurses with the depth of an expression, which is bounded.
const STACK: usize = 1 << 20;

/// How long a connection that nobody uses stays open. It holds three descriptors, and pages in memory.
const IDLE: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(60) };

/// The time between looks at a transaction that is open while nothing runs in it.
const TRANSACTION_CHECK: Duration = Duration::from_millis(250);

/// The connections that no job has.
pub(super) type IdleThreads = Mutex<Vec<ConnectionThread>>;

/// An order to a connection's thread.
pub(super) enum ThreadOrder {
    /// To run a command.
    Run { number: u64, command: SqlCommand, caller: Option<Arc<SqlCaller>>, reply: oneshot::Sender<Replied> },
    /// To roll back what is open, and then to drop this value, which returns the connection to its pool.
    Clean(Box<dyn FnOnce() + Send>),
}

/// The outcome of a command, and whether a transaction is open after it.
pub(super) struct Replied {
    pub(super) outcome: Result<SqlResult, SqlError>,
    pub(super) is_open: bool,
}

/// A connection by its thread. Dropping it closes the connection.
#[derive(Clone)]
pub(super) struct ConnectionThread {
    pub(super) orders: Sender<ThreadOrder>,
    pub(super) control: Arc<StatementControl>,
}

impl ConnectionThread {
    /// Starts a thread. It opens its connection when it is first used, and ends when it has been idle for a while.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        file: &Arc<SqliteFile>,
        idle: Weak<IdleThreads>,
    ) -> Result<ConnectionThread, SqlError> {
        let (orders, received) = channel();
        let control = Arc::new(StatementControl::new(file.clone()));
        let served = SqliteConnection {
            idle,
            control: control.clone(),
            authorizer: Authorizer::new(Author::Handler),
            opened: None,
            identity: None,
            quota: 0,
            since: None,
            aborted: None,
        };
        let mark = OpenMark::new();
        let thread = std::thread::Builder::new().name("sqlite".to_owned()).stack_size(STACK);
        thread
            .spawn(move || {
                memory::bound_this_thread(CONNECTION_MEMORY);
                served.serve(&received);
                drop(mark);
            })
            .map_err(|error| SqlError::Unavailable(format!("no thread for a connection: {error}")))?;
        Ok(ConnectionThread { orders, control })
    }
}

/// The state of a connection.
struct SqliteConnection {
    idle: Weak<IdleThreads>,
    control: Arc<StatementControl>,
    authorizer: Authorizer,
    opened: Option<Connection>,
    /// The file that it has open.
    identity: Option<FileIdentity>,
    /// The quota that the connection has.
    quota: u64,
    /// When the open transaction began.
    since: Option<Instant>,
    /// Why the transaction of this job is gone although the job has not ended it.
    aborted: Option<&'static str>,
}

impl SqliteConnection {
    fn serve(mut self, orders: &Receiver<ThreadOrder>) {
        self.serve_orders(orders);
        self.close();
    }

    fn serve_orders(&mut self, orders: &Receiver<ThreadOrder>) {
        loop {
            let order = match self.since {
                None => orders.recv_timeout(IDLE),
                Some(_) => orders.recv_timeout(TRANSACTION_CHECK),
            };
            match order {
                Ok(ThreadOrder::Run { number, command, caller, reply }) => {
                    let outcome = self.run(number, &command, caller);
                    // The job may be gone; its connection is cleaned next.
                    let _gone =
                        reply.send(Replied { outcome, is_open: self.is_open() || self.aborted.is_some() });
                    self.give_memory_back();
                }
                Ok(ThreadOrder::Clean(back)) => {
                    self.roll_back();
                    self.give_memory_back();
                    self.aborted = None;
                    back();
                }
                Err(RecvTimeoutError::Timeout) => match self.since {
                    None if self.leave() => return,
                    None => {}
                    Some(since) => {
                        if let Some(reason) = self.control.reason_to_end(since) {
                            self.roll_back();
                            self.aborted = Some(reason);
                        }
                    }
                },
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Closes a connection that keeps much memory: that of prepared statements with large triggers or views. The statements
    /// of all connections share this memory. At its own bound, the connection could prepare no other statement.
    fn give_memory_back(&mut self) {
        if memory::is_large() && !self.is_open() {
            self.close();
        }
    }

    /// Closes the connection. SQLite then removes the log of changes by its name. If the path leads to another file, that
    /// would be the log of the other file, and it is kept.
    fn close(&mut self) {
        let (opened, identity) = (self.opened.take(), self.identity.take());
        let Some(connection) = opened else { return };
        if identity.is_some_and(|identity| self.control.file().has_lost(identity)) {
            // This SQLite knows the option.
            let _kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    /// Leaves the idle connections. Returns `false` if a job has this one.
    fn leave(&self) -> bool {
        let Some(idle) = self.idle.upgrade() else { return true };
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        let place = idle.iter().position(|thread| Arc::ptr_eq(&thread.control, &self.control));
        place.map(|place| idle.remove(place)).is_some()
    }

    fn is_open(&self) -> bool {
        self.opened.as_ref().is_some_and(|connection| !connection.is_autocommit())
    }

    fn run(
        &mut self,
        number: u64,
        command: &SqlCommand,
        caller: Option<Arc<SqlCaller>>,
    ) -> Result<SqlResult, SqlError> {
        if self.control.is_cancelled(number) {
            return Err(SqlError::Timeout("the job has ended".to_owned()));
        }
        if let Some(reason) = self.aborted {
            // As in PostgreSQL: what follows was meant for the transaction, and must not run without it.
            if command.is_rollback() {
                self.aborted = None;
                return Ok(SqlResult::default());
            }
            return Err(SqlError::Timeout(format!(
                "the transaction was rolled back: {reason}; end it, and begin again"
            )));
        }
        let now = Instant::now();
        let begun = self.since.unwrap_or(now);
        let deadline = (begun + TRANSACTION).min(now + STATEMENT);
        self.control.begin(number, StatementTerms { begun, deadline, caller });
        let was_open = self.is_open();
        let mut outcome = self.execute(command);
        if self.control.end() && matches!(outcome, Err(SqlError::Timeout(_))) {
            outcome =
                Err(SqlError::Timeout("the job has used up its processor time (limits.cpu)".to_owned()));
        }
        let is_open = self.is_open();
        // A deferred constraint keeps the transaction open at a commit, but PostgreSQL ends it. A transaction that only a
        // failed command has opened is ended too: later statements of the job would be lost in it.
        let is_ended = *command == SqlCommand::Commit || !was_open && is_open;
        if is_ended && outcome.is_err() {
            self.roll_back();
            return outcome;
        }
        if was_open && !is_open && outcome.is_err() && !command.is_rollback() {
            self.aborted = Some("a statement in it failed");
        }
        self.since = is_open.then(|| self.since.unwrap_or(now));
        outcome
    }

    fn execute(&mut self, command: &SqlCommand) -> Result<SqlResult, SqlError> {
        self.prepare()?;
        let Some(connection) = &self.opened else {
            return Err(SqlError::Unavailable("the connection is closed".to_owned()));
        };
        let (sql, parameters) = match command {
            // At once for writing: a transaction that reads first and writes later would fail if another wrote meanwhile.
            SqlCommand::Begin => ("BEGIN IMMEDIATE", &[][..]),
            SqlCommand::Commit => ("COMMIT", &[][..]),
            SqlCommand::Rollback => ("ROLLBACK", &[][..]),
            SqlCommand::Statement { sql, parameters } => (sql.as_str(), &parameters[..]),
        };
        statement::run(&self.control, connection, &self.authorizer, (sql, parameters))
    }

    /// Opens the connection if it is not open, and gives it the current quota.
    fn prepare(&mut self) -> Result<(), SqlError> {
        let place = self.control.file().check_place();
        if self.opened.is_some() && place.as_ref().ok() != Some(&self.identity) {
            let was_open = self.is_open();
            self.close();
            if was_open {
                place?;
                return Err(SqlError::Conflict("the file was replaced".to_owned()));
            }
        }
        place?;
        if self.opened.is_none() {
            let opened = open::open(&self.control.file().path, &self.control, &self.authorizer)?;
            self.identity = Some(self.control.file().note_opened()?);
            (self.opened, self.quota) = (Some(opened), 0);
            let file = self.control.file();
            file.swept.call_once(|| backup::sweep(&file.path));
        }
        let quota = self.control.file().quota();
        if let Some(connection) = self.opened.as_ref().filter(|_| self.quota != quota) {
            let bound = self.authorizer.as_daemon(|| open::bound(connection, quota));
            bound.map_err(|error| failure::of(&self.control.file().path, &error))?;
            self.quota = quota;
        }
        Ok(())
    }

    /// Ends an open transaction. A connection that cannot do so is closed, which ends it too.
    fn roll_back(&mut self) {
        self.since = None;
        // The statements of the job that is gone are over; this one is the daemon's.
        self.control.begin_own(u64::MAX, STATEMENT);
        let Some(connection) = self.opened.as_ref().filter(|connection| !connection.is_autocommit()) else {
            return;
        };
        if self.authorizer.as_daemon(|| connection.execute_batch("ROLLBACK")).is_err() {
            self.close();
        }
    }
}
