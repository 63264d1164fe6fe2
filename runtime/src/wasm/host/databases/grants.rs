//! The databases that one guest is granted, and what it has open in them.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::database::{DatabaseGrant, DatabaseSession, SqlCaller, SqlCommand, SqlError, SqlResult, SqlValue};
use crate::job::{HandlerVersion, Job, Usage};
use crate::observe::traces::{OperationSpan, SpanRef};

/// Statements of one job: the bound that stores have on operations.
const MAX_STATEMENTS: u32 = 100_000;

/// Statements of one job that are awaited at once, or whose rows are not read yet. Each may hold a result.
const MAX_UNDER_WAY: usize = 16;

/// The databases of a guest. Dropping them rolls back what is open.
pub(in crate::wasm) struct GuestDatabases {
    /// `None` for an instance that runs no job.
    entry: Option<Arc<HandlerVersion>>,
    /// The job, as far as its spans are concerned. `None` without a job.
    usage: Option<Arc<Usage>>,
    granted: Arc<[DatabaseGrant]>,
    /// What is open, in the order of the grants. Statements that are awaited take turns.
    sessions: Vec<Arc<Mutex<DatabaseSession>>>,
    statements: u32,
    /// Its references are counted: one for each statement that is awaited.
    under_way: Arc<()>,
    /// The last row id and the number of changed rows, in the order of the grants.
    last: Vec<(i64, u64)>,
    /// What the last statement returned, until the guest takes it.
    pub(super) result: Bytes,
    /// The message of the last failure.
    pub(super) last_error: String,
}

/// A statement that is about to run, on a state that is not borrowed from the guest.
pub(super) struct BegunStatement {
    grant: DatabaseGrant,
    session: Arc<Mutex<DatabaseSession>>,
    /// The span below which it is. `None` if the job is not traced.
    span: Option<SpanRef>,
}

/// Why a statement failed, as the guest sees it.
#[derive(Debug)]
pub(super) struct SqlFailure {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl GuestDatabases {
    pub(in crate::wasm) fn of(job: &Job) -> GuestDatabases {
        let granted = job.entry.grants.databases.clone();
        let (usage, limit) = (job.usage.clone(), job.entry.limits.cpu);
        // A thread of SQLite charges the job while it computes: no poll of the job would see it. All jobs of a handler's
        // version are one line.
        let caller = SqlCaller::new(Arc::as_ptr(&job.entry).addr(), move |time| {
            let spent = usage.spend(time);
            limit.is_none_or(|limit| spent <= limit)
        });
        let caller = Arc::new(caller);
        let session = |_: &DatabaseGrant| Arc::new(Mutex::new(DatabaseSession::of(caller.clone())));
        let sessions = granted.iter().map(session).collect();
        let last = vec![(0, 0); granted.len()];
        GuestDatabases {
            entry: Some(job.entry.clone()),
            usage: Some(job.usage.clone()),
            granted,
            sessions,
            last,
            ..GuestDatabases::nothing()
        }
    }

    /// Makes the state for an instance that runs no job. It may open nothing.
    pub(in crate::wasm) fn nothing() -> GuestDatabases {
        GuestDatabases {
            entry: None,
            usage: None,
            granted: Arc::new([]),
            sessions: Vec::new(),
            statements: 0,
            under_way: Arc::default(),
            last: Vec::new(),
            result: Bytes::new(),
            last_error: String::new(),
        }
    }

    /// Finds a database by the guest's name for it. Does not open it.
    pub(super) fn find(&self, name: &str) -> Result<i32, SqlFailure> {
        let place = self.granted.iter().position(|grant| grant.name == name);
        let place = place.and_then(|place| i32::try_from(place).ok());
        place.ok_or_else(|| {
            let handler = self.entry.as_ref().map_or("NAME", |entry| entry.name.as_str());
            let name: String = name.chars().take(64).collect();
            SqlFailure {
                code: "access_denied",
                message: format!(
                    "database {name:?} is not granted: add it to handler.{handler}.databases in the configuration"
                ),
            }
        })
    }

    /// Finds a database on a PostgreSQL server by the guest's name for it.
    pub(super) fn find_server(&self, name: &str) -> Result<u32, SqlFailure> {
        let number = self.find(name)?.unsigned_abs();
        let grant = usize::try_from(number).ok().and_then(|place| self.granted.get(place));
        match grant.and_then(|grant| grant.database.options().file()) {
            None => Ok(number),
            Some(_) => Err(SqlFailure::invalid(&format!(
                "database {name} is an SQLite file: use spin:sqlite, or give it the URL of a PostgreSQL server"
            ))),
        }
    }

    /// Runs one command on a database.
    pub(super) async fn run(&mut self, database: u32, command: SqlCommand) -> Result<SqlResult, SqlFailure> {
        self.result = Bytes::new();
        let begun = self.begin(database)?;
        // What is awaited goes on only when this call returns, so it must not be waited for.
        let Ok(mut session) = begun.session.try_lock() else {
            return Err(SqlFailure::invalid(
                "another statement on this database is awaited: let it end first",
            ));
        };
        let outcome = begun.execute(&mut session, command).await;
        if let Ok(result) = &outcome {
            self.note(database, result);
        }
        outcome.map_err(|error| SqlFailure::of(&begun.grant, &error))
    }

    /// Begins a statement that the guest awaits, perhaps beside others. It counts as long as the second value is held.
    pub(super) fn begin_awaited(&mut self, database: u32) -> Result<(BegunStatement, Arc<()>), SqlFailure> {
        let under_way = self.under_way.clone();
        // One for this and one for each statement.
        if Arc::strong_count(&under_way) > MAX_UNDER_WAY + 1 {
            return Err(SqlFailure::too_many(&format!(
                "a job may await {MAX_UNDER_WAY} statements at once, those included whose rows it has not read"
            )));
        }
        Ok((self.begin(database)?, under_way))
    }

    /// Counts a statement, and finds its database.
    fn begin(&mut self, database: u32) -> Result<BegunStatement, SqlFailure> {
        if self.statements >= MAX_STATEMENTS {
            return Err(SqlFailure::too_many(&format!("a job has {MAX_STATEMENTS} statements at most")));
        }
        self.statements += 1;
        let place = usize::try_from(database).unwrap_or(usize::MAX);
        let (Some(grant), Some(session)) = (self.granted.get(place), self.sessions.get(place)) else {
            return Err(SqlFailure::invalid("there is no database with this number: open it first"));
        };
        let span = self.usage.as_ref().and_then(|usage| usage.spans.innermost());
        Ok(BegunStatement { grant: grant.clone(), session: session.clone(), span })
    }

    /// Notes what a statement changed.
    pub(super) fn note(&mut self, database: u32, result: &SqlResult) {
        let place = usize::try_from(database).unwrap_or(usize::MAX);
        if let Some(last) = self.last.get_mut(place) {
            // An update has changed rows too, and outside of a transaction has no id.
            let has_inserted = result.changed > 0 && result.row_id != 0;
            let id = if has_inserted { result.row_id } else { last.0 };
            *last = (id, result.changed);
        }
    }

    /// Returns the row id of the last inserted row and the number of rows that the last statement changed.
    pub(super) fn last(&self, database: u32) -> (i64, u64) {
        let place = usize::try_from(database).unwrap_or(usize::MAX);
        self.last.get(place).copied().unwrap_or_default()
    }

    /// Converts an outcome to a return value. A failure is kept for `error`, and returns -1.
    pub(super) fn settle(&mut self, outcome: Result<i32, SqlFailure>) -> i32 {
        outcome.unwrap_or_else(|failure| {
            self.last_error = failure.to_string();
            -1
        })
    }
}

impl BegunStatement {
    /// Runs the statement when those before it have ended.
    ///
    /// # Cancel safety
    /// If the future is dropped, the statement is stopped. On a server, its transaction is rolled back.
    pub(super) async fn run(self, sql: String, parameters: Vec<SqlValue>) -> Result<SqlResult, SqlFailure> {
        let mut session = self.session.lock().await;
        let outcome = self.execute(&mut session, SqlCommand::Statement { sql, parameters }).await;
        outcome.map_err(|error| SqlFailure::of(&self.grant, &error))
    }

    /// Runs a command, and records its span if the job is traced.
    async fn execute(
        &self,
        session: &mut DatabaseSession,
        command: SqlCommand,
    ) -> Result<SqlResult, SqlError> {
        let traced = self.span.as_ref().map(|span| (span, Instant::now(), operation(&command)));
        let outcome = session.run(&self.grant.database, command).await;
        if let Some((span, started, operation)) = traced {
            let failure = outcome.as_ref().err().map(SqlError::code);
            let (system, name, ended) = ("database", self.grant.name.clone(), Instant::now());
            span.operation_ended(OperationSpan { system, name, started, ended, operation, failure });
        }
        outcome
    }
}

/// Returns the name of a command. The text of a statement is not read: it may hold values.
fn operation(command: &SqlCommand) -> Option<&'static str> {
    match command {
        SqlCommand::Statement { .. } => None,
        SqlCommand::Begin => Some("BEGIN"),
        SqlCommand::Commit => Some("COMMIT"),
        SqlCommand::Rollback => Some("ROLLBACK"),
    }
}

impl SqlFailure {
    fn too_many(message: &str) -> SqlFailure {
        SqlFailure { code: "too_many", message: message.to_owned() }
    }

    pub(super) fn invalid(message: &str) -> SqlFailure {
        SqlFailure { code: "invalid", message: message.to_owned() }
    }

    /// Makes the failure of a statement whose bytes would not fit into the memory of the job.
    pub(super) fn no_memory(bytes: usize) -> SqlFailure {
        SqlFailure::too_many(&format!(
            "the job has no memory for the {bytes} bytes of a statement: use less at once, or raise limits.memory"
        ))
    }

    fn of(grant: &DatabaseGrant, error: &SqlError) -> SqlFailure {
        let name = &grant.name;
        let message = match error {
            // Addresses and paths are the operator's alone: `status` and the log have them.
            SqlError::Unavailable(_) => {
                format!("database {name}: it cannot be reached: see the daemon's log")
            }
            SqlError::Interrupted(_) => {
                format!("database {name}: no answer to a statement, which may or may not be done")
            }
            SqlError::Corrupt(_) => format!("database {name}: it is damaged: see the daemon's log"),
            error => format!("database {name}: {error}"),
        };
        SqlFailure { code: error.code(), message }
    }
}

/// `CODE: MESSAGE`.
impl fmt::Display for SqlFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::{DatabaseOptions, DatabasePool, DatabaseUrl};

    #[test]
    fn a_job_has_a_bounded_number_of_statements() {
        let options = DatabaseOptions {
            name: "one".to_owned(),
            // Opened by the first statement that runs: none does.
            url: DatabaseUrl::Sqlite("/nowhere/a.sqlite".into()),
            quota: 1 << 20,
            connections: 1,
            ca: None,
            migrations: None,
        };
        let grant = DatabaseGrant { name: "one".to_owned(), database: DatabasePool::default().get(&options) };
        let mut databases = GuestDatabases {
            granted: Arc::new([grant]),
            sessions: vec![Arc::default()],
            statements: MAX_STATEMENTS - 1,
            ..GuestDatabases::nothing()
        };

        assert!(databases.begin(0).is_ok());

        let refused = databases.begin(0).err().map(|failure| failure.to_string());
        assert_eq!(refused.as_deref(), Some("too_many: a job has 100000 statements at most"));
    }
}
