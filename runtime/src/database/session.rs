//! The session of one job at a database. It holds a connection only while it has a transaction.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout;

use super::backend::DatabaseLease;
use super::caller::SqlCaller;
use super::counts;
use super::error::SqlError;
use super::limits::{self, DATABASE_WAIT};
use super::shared::SharedDatabase;
use super::value::{SqlCommand, SqlResult};
use crate::runtime_context::polled_in;

/// A job's use of a database. Dropping it rolls back an open transaction and stops a statement that runs.
///
/// The default is that of an operator: nobody pays for its statements, and it may have every connection.
#[derive(Default)]
pub struct DatabaseSession {
    lease: Option<DatabaseLease>,
    caller: Option<Arc<SqlCaller>>,
}

impl DatabaseSession {
    /// Makes the session of a job, which pays for its statements and takes turns with others.
    pub fn of(caller: Arc<SqlCaller>) -> DatabaseSession {
        DatabaseSession { lease: None, caller: Some(caller) }
    }

    /// Runs a command. Waits for a connection no longer than a client would.
    ///
    /// # Cancel safety
    /// If the future is dropped, the command is stopped; its transaction is rolled back when the session is dropped.
    ///
    /// # Errors
    /// Those of the command; or no connection became free in time.
    pub async fn run(
        &mut self,
        database: &SharedDatabase,
        command: SqlCommand,
    ) -> Result<SqlResult, SqlError> {
        let (operation, begun) = (counts::place(&command), Instant::now());
        // Boxed: the futures of statements on a server are large.
        let work = Box::pin(self.execute(database, command));
        let outcome = polled_in(database.home(), work).await;
        database.count(operation, &outcome, begun.elapsed());
        outcome
    }

    async fn execute(
        &mut self,
        database: &SharedDatabase,
        command: SqlCommand,
    ) -> Result<SqlResult, SqlError> {
        limits::command(&command)?;
        self.lease.take_if(|lease| lease.is_given_up());
        if self.lease.is_none() {
            match &command {
                SqlCommand::Commit | SqlCommand::Rollback => {
                    return Err(SqlError::Invalid("no transaction is open".to_owned()));
                }
                SqlCommand::Begin | SqlCommand::Statement { .. } => {}
            }
            let late = || {
                SqlError::Timeout(
                    "no connection became free: other jobs have them in transactions; end those sooner, or raise \
                     `connections`"
                        .to_owned(),
                )
            };
            let asked = Instant::now();
            let leased = timeout(DATABASE_WAIT, database.lease(self.caller.clone())).await;
            database.count_wait(asked.elapsed());
            self.lease = Some(leased.map_err(|_| late())??);
        }
        let Some(lease) = &mut self.lease else {
            return Err(SqlError::Unavailable("the connection is closed".to_owned()));
        };
        let outcome = lease.run(command).await;
        if !lease.is_open() {
            self.lease = None;
        }
        outcome
    }
}
