//! The thread of one connection: it runs the statements of the job that has the connection, and cleans up after it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::authorizer::{Author, Authorizer};
use super::control::StatementControl;
use super::{failure, open, statement};
use crate::database::error::SqlError;
use crate::database::limits::{STATEMENT, TRANSACTION};
use crate::database::value::{SqlCommand, SqlResult};

/// The stack of a connection's thread: SQLite's parser recurses with the depth of an expression, which is bounded.
const STACK: usize = 1 << 20;

/// What a connection's thread is told.
pub(super) enum ThreadOrder {
    /// To run a command.
    Run { number: u64, command: SqlCommand, reply: oneshot::Sender<Replied> },
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
    /// Starts a thread. It opens its connection when it is first used.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(path: PathBuf, control: StatementControl) -> Result<ConnectionThread, SqlError> {
        let (orders, received) = channel();
        let control = Arc::new(control);
        let served = SqliteConnection {
            path,
            control: control.clone(),
            authorizer: Authorizer::new(Author::Handler),
            opened: None,
            quota: 0,
            since: None,
            aborted: None,
        };
        let thread = std::thread::Builder::new().name("sqlite".to_owned()).stack_size(STACK);
        thread
            .spawn(move || served.serve(&received))
            .map_err(|error| SqlError::Unavailable(format!("no thread for a connection: {error}")))?;
        Ok(ConnectionThread { orders, control })
    }
}

/// The state of a connection.
struct SqliteConnection {
    path: PathBuf,
    control: Arc<StatementControl>,
    authorizer: Authorizer,
    opened: Option<Connection>,
    /// The quota that the connection has.
    quota: u64,
    /// When the open transaction began.
    since: Option<Instant>,
    /// Why the transaction of this job is gone although the job has not ended it.
    aborted: Option<&'static str>,
}

impl SqliteConnection {
    fn serve(mut self, orders: &Receiver<ThreadOrder>) {
        loop {
            let order = match self.since {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => orders.recv_timeout(TRANSACTION.saturating_sub(since.elapsed())),
            };
            match order {
                Ok(ThreadOrder::Run { number, command, reply }) => {
                    let outcome = self.run(number, &command);
                    // The job may be gone; its connection is cleaned next.
                    let _gone =
                        reply.send(Replied { outcome, is_open: self.is_open() || self.aborted.is_some() });
                }
                Ok(ThreadOrder::Clean(back)) => {
                    self.roll_back();
                    self.aborted = None;
                    back();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.roll_back();
                    self.aborted = Some("it was open for too long");
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn is_open(&self) -> bool {
        self.opened.as_ref().is_some_and(|connection| !connection.is_autocommit())
    }

    fn run(&mut self, number: u64, command: &SqlCommand) -> Result<SqlResult, SqlError> {
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
        let left = self.since.map_or(now + TRANSACTION, |since| since + TRANSACTION);
        self.control.begin(number, left.min(now + STATEMENT));
        let was_open = self.is_open();
        let outcome = self.execute(command);
        let is_open = self.is_open();
        // A deferred constraint keeps the transaction open at a commit. PostgreSQL ends it. What a failed command alone
        // has opened is none of the job's: later statements would be lost in it.
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
        statement::run(&self.path, connection, &self.authorizer, (sql, parameters))
    }

    /// Opens the connection if it is not open, and gives it the current quota.
    fn prepare(&mut self) -> Result<(), SqlError> {
        if self.opened.is_none() {
            self.opened = Some(open::open(&self.path, &self.control, &self.authorizer)?);
            self.quota = 0;
        }
        let quota = self.control.quota();
        if let Some(connection) = self.opened.as_ref().filter(|_| self.quota != quota) {
            let bound = self.authorizer.as_daemon(|| open::bound(connection, quota));
            bound.map_err(|error| failure::of(&self.path, &error))?;
            self.quota = quota;
        }
        Ok(())
    }

    /// Ends an open transaction. A connection that cannot do so is closed, which ends it too.
    fn roll_back(&mut self) {
        self.since = None;
        // The statements of the job that is gone are over; this one is the daemon's.
        self.control.begin(u64::MAX, Instant::now() + STATEMENT);
        let Some(connection) = self.opened.as_ref().filter(|connection| !connection.is_autocommit()) else {
            return;
        };
        if self.authorizer.as_daemon(|| connection.execute_batch("ROLLBACK")).is_err() {
            self.opened = None;
        }
    }
}
