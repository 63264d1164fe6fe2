//! A connection that one job has: its transaction, its time, and what becomes of it afterwards.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::connect::{CONNECT, PostgresConnector};
use super::look_ups::{KnownLookUps, LEFTOVERS, TypeLookUps};
use super::{failure, statement};
use crate::database::error::SqlError;
use crate::database::limits::{STATEMENT, TRANSACTION};
use crate::database::syntax;
use crate::database::turns::ConnectionTurn;
use crate::database::value::{SqlCommand, SqlResult};

/// A statement that the server was to end is given up after this time more.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// Whether no transaction is open. It fails in a transaction with a statement that has failed.
const IS_OUTSIDE: &str =
    "SELECT pg_catalog.transaction_timestamp() OPERATOR(pg_catalog.=) pg_catalog.statement_timestamp()";

/// Columns after that of [`IS_OUTSIDE`]: the number of statements that SQL has prepared, and of those of the protocol. Any
/// function can prepare the former and drop both, so the text of a job does not show what is left.
const PREPARED: &str = "pg_catalog.count(*) FILTER (WHERE from_sql), pg_catalog.count(*) FILTER (WHERE NOT from_sql) \
                        FROM pg_catalog.pg_prepared_statements";

/// Discards what a session has set. It is `DISCARD ALL` without DEALLOCATE ALL, because tokio-postgres keeps statements
/// that look up types.
const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES";

/// A connection that one job has. Dropping it rolls back what is open.
pub(in crate::database) struct PostgresLease {
    client: Option<Object>,
    known: Arc<KnownLookUps>,
    look_ups: TypeLookUps,
    connector: PostgresConnector,
    turn: Option<ConnectionTurn>,
    /// The runtime of the database, which lives as long as the daemon: the connection is served and given back there. The
    /// lease may be dropped by a thread of the slow lane, or within the file threads of a job, which end with their handler.
    home: Handle,
    /// Since when a transaction is open.
    since: Option<Instant>,
    /// Whether a statement in the open transaction has failed, so that the server keeps nothing of it.
    has_failed: bool,
    /// Whether a statement may be running.
    is_running: bool,
}

/// A connection on its way to its pool. It is closed unless it is found clean. It is also closed if the daemon ends before.
struct ReturningClient(Option<Object>);

impl PostgresLease {
    /// Makes the lease of a connection, in the runtime of the database.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(super) fn new(
        client: Object,
        known: Arc<KnownLookUps>,
        connector: PostgresConnector,
        turn: ConnectionTurn,
    ) -> PostgresLease {
        PostgresLease {
            look_ups: known.of(&client),
            client: Some(client),
            known,
            connector,
            turn: Some(turn),
            home: Handle::current(),
            since: None,
            has_failed: false,
            is_running: false,
        }
    }

    /// Runs a command. If the future is dropped, the command is stopped, and what it changed is rolled back.
    ///
    /// # Errors
    /// Those of the command.
    pub(in crate::database) async fn run(&mut self, command: SqlCommand) -> Result<SqlResult, SqlError> {
        let elapsed = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        // Of a command that was given up in the transaction, only the server knows what became of it.
        if elapsed >= TRANSACTION || self.is_running {
            self.abandon();
        }
        if self.client.is_none() {
            // What follows was meant for the transaction, and must not run without it.
            if command.is_rollback() {
                self.since = None;
                return Ok(SqlResult::default());
            }
            return Err(SqlError::Timeout(
                "the transaction was rolled back: end it, and begin again".to_owned(),
            ));
        }
        let left = STATEMENT.min(TRANSACTION.saturating_sub(elapsed)) + CANCEL_GRACE;
        let (late, is_chained) = (late(self.since.is_some(), &command), command.is_chained());
        self.is_running = true;
        let outcome = match timeout(left, self.execute(command)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                // What was meant for the next transaction of a chain must not run without it.
                if matches!(late, SqlError::Interrupted(_)) && !is_chained {
                    (self.since, self.has_failed) = (None, false);
                }
                Err(late)
            }
        };
        if ends_connection(&outcome) {
            self.abandon();
        } else {
            self.is_running = false;
        }
        outcome
    }

    /// Closes the connection, outside of its pool. The server then rolls back; a statement that runs is stopped.
    fn abandon(&mut self) {
        let Some(client) = self.client.take() else { return };
        let client = Object::take(client);
        if self.is_running {
            let (token, connector) = (client.cancel_token(), self.connector.clone());
            // Bounded by the time of a statement if the server does not listen.
            drop(self.home.spawn(async move { timeout(CONNECT, connector.cancel(&token)).await }));
        }
        self.is_running = false;
    }

    async fn execute(&mut self, command: SqlCommand) -> Result<SqlResult, SqlError> {
        let outcome = self.perform(command).await;
        // In a transaction that has failed the server answers after the rollback. Until then the job can run nothing else.
        let is_answering = self.since.is_none() || !self.has_failed;
        if self.look_ups.is_unsettled() && is_answering && !ends_connection(&outcome) {
            self.settle().await;
        }
        outcome
    }

    /// Asks the server whether it has kept a statement that could not be prepared.
    async fn settle(&mut self) {
        let Some(client) = &self.client else { return };
        let has_leftovers = has_leftovers(client).await;
        if has_leftovers.is_none() && self.since.is_some() {
            // The question has failed in the transaction, so the server keeps nothing of it.
            self.has_failed = true;
        }
        self.look_ups.settle(has_leftovers.unwrap_or(true));
    }

    async fn perform(&mut self, command: SqlCommand) -> Result<SqlResult, SqlError> {
        let is_chained = command.is_chained();
        let (sql, parameters) = match command {
            SqlCommand::Begin => ("BEGIN ISOLATION LEVEL SERIALIZABLE".to_owned(), Vec::new()),
            SqlCommand::Commit => ("COMMIT".to_owned(), Vec::new()),
            SqlCommand::Rollback => ("ROLLBACK".to_owned(), Vec::new()),
            SqlCommand::Statement { sql, parameters } => (sql, parameters),
        };
        let Some(client) = &self.client else {
            return Err(SqlError::Unavailable("the connection is closed".to_owned()));
        };
        let words = syntax::leading_words(&sql, 4);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["PREPARE", "TRANSACTION", ..] | ["COMMIT" | "ROLLBACK", "PREPARED", ..] => {
                return Err(SqlError::NotAllowed(
                    "prepared transactions are not allowed: they would outlive the job".to_owned(),
                ));
            }
            // Its data would come from the client, or from files of the server.
            ["COPY", ..] => {
                return Err(SqlError::NotAllowed("COPY is not allowed: use INSERT and SELECT".to_owned()));
            }
            ["BEGIN" | "START", ..] if self.since.is_some() => {
                // The server would only warn, and the time of the transaction would begin again.
                return Err(SqlError::Invalid(
                    "a transaction is open: end it before the next one".to_owned(),
                ));
            }
            ["COMMIT" | "END", ..] if self.has_failed => {
                // The server would answer this without an error, and keep nothing.
                (self.since, self.has_failed) = (None, false);
                client.batch_execute("ROLLBACK").await.map_err(|error| failure::of(&error))?;
                return Err(SqlError::Invalid(
                    "a statement in the transaction has failed: it was rolled back".to_owned(),
                ));
            }
            _ => {}
        }
        let is_open = self.since.is_some();
        let outcome = statement::run(client, &sql, &parameters, is_open, &mut self.look_ups).await;
        match words[..] {
            ["BEGIN" | "START", ..] if outcome.is_ok() => self.since = Some(Instant::now()),
            ["COMMIT" | "END" | "ROLLBACK" | "ABORT", ..] if self.since.is_some() => {
                let is_part = matches!(words[..], ["ROLLBACK", "TO", ..] | ["ROLLBACK", _, "TO", ..]);
                self.note_end(is_part || is_chained, &outcome).await;
            }
            _ if self.since.is_some() && outcome.is_err() => self.has_failed = true,
            _ => {}
        }
        outcome
    }

    /// Notes what became of the transaction with a statement that ends it or a part of it. `stays` tells whether one is open
    /// after such a statement.
    async fn note_end(&mut self, stays: bool, outcome: &Result<SqlResult, SqlError>) {
        match outcome {
            Ok(_) if stays => self.has_failed = false,
            Ok(_) => (self.since, self.has_failed) = (None, false),
            // The connection is lost. What was meant for a transaction must not run without it.
            Err(SqlError::Interrupted(_)) if stays => {}
            Err(SqlError::Interrupted(_)) => (self.since, self.has_failed) = (None, false),
            // The server may have refused the text, and the transaction is open; or a commit has failed and ended it.
            Err(_) => self.ask().await,
        }
    }

    /// Asks the server what became of the transaction. The connection is closed if that stays unknown.
    async fn ask(&mut self) {
        let Some(client) = &self.client else { return };
        let answer = client.simple_query(IS_OUTSIDE).await;
        match answer {
            Ok(messages) => {
                if first_row(&messages).and_then(|row| row.get(0)) == Some("t") {
                    (self.since, self.has_failed) = (None, false);
                }
            }
            Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
                self.has_failed = true;
            }
            Err(_) => self.abandon(),
        }
    }

    /// Whether the job needs this connection for its next statement.
    pub(in crate::database) fn is_open(&self) -> bool {
        self.since.is_some() || self.is_running
    }

    /// Whether a command outside of a transaction was given up, so that the next one needs another connection.
    pub(in crate::database) fn is_given_up(&self) -> bool {
        self.since.is_none() && self.is_running
    }
}

impl Drop for PostgresLease {
    fn drop(&mut self) {
        if self.is_running {
            self.abandon();
        }
        let (Some(client), turn) = (self.client.take(), self.turn.take()) else { return };
        let (is_open, look_ups, known) = (self.since.is_some(), self.look_ups, self.known.clone());
        let returning = ReturningClient(Some(client));
        // A runtime that has ended drops the future, which closes the connection.
        drop(self.home.spawn(async move {
            give_back(returning, is_open, look_ups, &known).await;
            // After the connection: with the turn, the next job finds it.
            drop(turn);
        }));
    }
}

/// Makes the error of a command whose answer does not come in time. The server rolls back what is open, unless it has just
/// committed it.
fn late(is_open: bool, command: &SqlCommand) -> SqlError {
    match is_open && !command.is_commit() {
        true => SqlError::Timeout("the statement took too long".to_owned()),
        false => SqlError::Interrupted("the server did not answer in time".to_owned()),
    }
}

/// Whether the connection cannot be used after a command: the server may still compute, or send rows that nothing reads.
fn ends_connection(outcome: &Result<SqlResult, SqlError>) -> bool {
    matches!(outcome, Err(SqlError::Timeout(_) | SqlError::TooLarge(_) | SqlError::Interrupted(_)))
}

/// Asks whether the server has a statement that could not be prepared. `None` if it does not answer.
async fn has_leftovers(client: &Client) -> Option<bool> {
    let question = format!("SELECT {LEFTOVERS} FROM pg_catalog.pg_prepared_statements");
    let messages = client.simple_query(&question).await.ok()?;
    Some(first_row(&messages)?.get(0)? != "0")
}

/// Ends the transaction that a job has left open. Returns whether that is done.
async fn rolled_back(client: &Object) -> bool {
    matches!(timeout(CONNECT, client.batch_execute("ROLLBACK")).await, Ok(Ok(())))
}

/// Returns a connection to its pool without anything of the job. If that fails, or the prepared statements are not those of
/// the look-ups alone, it is closed.
async fn give_back(
    mut returning: ReturningClient,
    is_open: bool,
    mut look_ups: TypeLookUps,
    known: &KnownLookUps,
) {
    let Some(client) = &returning.0 else { return };
    // The server logs a connection that is closed in a transaction, so the transaction is ended first.
    if is_open && !rolled_back(client).await {
        return;
    }
    if look_ups.is_unsettled() {
        let asked = timeout(CONNECT, has_leftovers(client)).await;
        look_ups.settle(asked.ok().flatten().unwrap_or(true));
    }
    let Some(kept) = look_ups.count() else { return };
    // What `setseed` makes of random() stays with the session, so the seed is drawn anew: 18 digits.
    let seed = RandomState::new().hash_one(()) % 1_000_000_000_000_000_000;
    let clean = format!("{IS_OUTSIDE}, {PREPARED}; {CLEAN}; SELECT pg_catalog.setseed(0.{seed:018})");
    let is_clean = match timeout(CONNECT, client.simple_query(&clean)).await {
        Ok(Ok(messages)) => found_clean(&messages, kept),
        Ok(Err(_)) | Err(_) => false,
    };
    if is_clean {
        known.keep(client, look_ups);
        drop(returning.0.take());
    }
}

/// Reads the first row of an answer: whether no transaction is open, no statement of SQL is prepared, and of the protocol
/// as many as tokio-postgres keeps.
fn found_clean(messages: &[SimpleQueryMessage], kept: usize) -> bool {
    let kept = kept.to_string();
    first_row(messages).is_some_and(|row| {
        ["t", "0", kept.as_str()]
            .into_iter()
            .enumerate()
            .all(|(place, wanted)| row.try_get(place).ok().flatten() == Some(wanted))
    })
}

impl Drop for ReturningClient {
    fn drop(&mut self) {
        // Outside of its pool it is closed.
        drop(self.0.take().map(Object::take));
    }
}

fn first_row(messages: &[SimpleQueryMessage]) -> Option<&SimpleQueryRow> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_done_is_not_called_a_timeout() {
        let statement = |sql: &str| SqlCommand::Statement { sql: sql.to_owned(), parameters: Vec::new() };

        for (is_open, command, code) in [
            (false, statement("insert into t values (1)"), "interrupted"),
            (true, statement("insert into t values (1)"), "timeout"),
            (true, statement("commit"), "interrupted"),
            (true, SqlCommand::Commit, "interrupted"),
            (true, SqlCommand::Rollback, "timeout"),
        ] {
            assert_eq!(late(is_open, &command).code(), code, "{command:?}");
        }
    }
}
