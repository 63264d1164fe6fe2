//! The databases that one guest is granted, and what it has open in them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::database::{DatabaseGrant, DatabaseSession, SqlCommand, SqlError, SqlResult};
use crate::job::{HandlerVersion, Job};

/// Statements of one job: the bound that stores have on operations.
const MAX_STATEMENTS: u32 = 100_000;

/// The databases of a guest. Dropping them rolls back what is open.
pub(in crate::wasm) struct GuestDatabases {
    /// `None` for an instance that runs no job.
    entry: Option<Arc<HandlerVersion>>,
    granted: Arc<[DatabaseGrant]>,
    /// What is open, in the order of the grants.
    sessions: Vec<DatabaseSession>,
    statements: u32,
    /// The last row id and the number of changed rows, in the order of the grants.
    last: Vec<(i64, u64)>,
    /// What the last statement returned, until the guest takes it.
    pub(super) result: Bytes,
    /// The message of the last failure.
    pub(super) last_error: String,
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
        let sessions = granted.iter().map(|_| DatabaseSession::default()).collect();
        let last = vec![(0, 0); granted.len()];
        GuestDatabases {
            entry: Some(job.entry.clone()),
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
            granted: Arc::new([]),
            sessions: Vec::new(),
            statements: 0,
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

    /// Runs one command on a database.
    pub(super) async fn run(&mut self, database: u32, command: SqlCommand) -> Result<SqlResult, SqlFailure> {
        self.result = Bytes::new();
        if self.statements >= MAX_STATEMENTS {
            let message = format!("a job has {MAX_STATEMENTS} statements at most");
            return Err(SqlFailure { code: "too_many", message });
        }
        self.statements += 1;
        let place = usize::try_from(database).unwrap_or(usize::MAX);
        let (Some(grant), Some(session)) = (self.granted.get(place), self.sessions.get_mut(place)) else {
            return Err(SqlFailure::invalid("there is no database with this number: open it first"));
        };
        let outcome = session.run(&grant.database, command).await;
        if let (Ok(result), Some(last)) = (&outcome, self.last.get_mut(place)) {
            // An update has changed rows too, and outside of a transaction has no id.
            let has_inserted = result.changed > 0 && result.row_id != 0;
            let id = if has_inserted { result.row_id } else { last.0 };
            *last = (id, result.changed);
        }
        outcome.map_err(|error| SqlFailure::of(grant, &error))
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

impl SqlFailure {
    pub(super) fn invalid(message: &str) -> SqlFailure {
        SqlFailure { code: "invalid", message: message.to_owned() }
    }

    fn of(grant: &DatabaseGrant, error: &SqlError) -> SqlFailure {
        let name = &grant.name;
        let message = match error {
            // Addresses and paths are the operator's alone: the log has them.
            SqlError::Unavailable(_) => {
                tracing::warn!("database {:?}: {error}", grant.database.options().name);
                format!("database {name}: it cannot be reached: see the daemon's log")
            }
            SqlError::Interrupted(_) => {
                format!(
                    "database {name}: the connection ended during a statement, which may or may not be done"
                )
            }
            SqlError::Corrupt(_) => {
                tracing::error!("database {:?}: {error}", grant.database.options().name);
                format!("database {name}: it is damaged: see the daemon's log")
            }
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
