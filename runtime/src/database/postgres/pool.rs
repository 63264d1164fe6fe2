//! The connections to one server: a bounded number, each for one job at a time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{failure, migrate, statement, syntax, tls};
use crate::database::error::SqlError;
use crate::database::limits::{PATIENCE, STATEMENT, TRANSACTION};
use crate::database::migrations::Migration;
use crate::database::value::{SqlCommand, SqlResult};

/// The longest wait for a connection to be made: below the wait of a job, so that the error names its cause.
const CONNECT: Duration = Duration::from_secs(3);

/// A statement that the server was to end is given up after this time more.
const GRACE: Duration = Duration::from_secs(2);

/// A server with its connections.
pub(in crate::database) struct Postgres {
    url: String,
    ca: Option<PathBuf>,
    connections: usize,
    opened: OnceCell<(Pool, MakeRustlsConnect)>,
}

/// A connection that one job has. Dropping it rolls back what is open.
pub(in crate::database) struct PostgresLease {
    client: Option<Object>,
    tls: MakeRustlsConnect,
    /// Since when a transaction is open.
    since: Option<Instant>,
    /// Whether a statement in the open transaction has failed, so that the server keeps nothing of it.
    has_failed: bool,
    /// Whether a statement may be running.
    is_running: bool,
}

impl Postgres {
    pub(in crate::database) fn new(url: String, ca: Option<PathBuf>, connections: usize) -> Postgres {
        Postgres { url, ca, connections, opened: OnceCell::new() }
    }

    async fn opened(&self) -> Result<&(Pool, MakeRustlsConnect), SqlError> {
        self.opened.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<(Pool, MakeRustlsConnect), SqlError> {
        let ca = self.ca.clone();
        let ended = |error: tokio::task::JoinError| SqlError::Unavailable(error.to_string());
        let tls =
            tokio::task::spawn_blocking(move || tls::connector(ca.as_deref())).await.map_err(ended)??;
        let config = config(&self.url).map_err(SqlError::Unavailable)?;
        // A transaction that is still open lets this fail, and the connection is closed.
        let recycling_method = RecyclingMethod::Custom("DISCARD ALL".to_owned());
        let manager = Manager::from_config(config, tls.clone(), ManagerConfig { recycling_method });
        let pool = Pool::builder(manager)
            .max_size(self.connections)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .build()
            .map_err(|error| SqlError::Unavailable(error.to_string()))?;
        Ok((pool, tls))
    }

    /// Returns a connection as soon as one is free.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the credentials.
    pub(in crate::database) async fn lease(&self) -> Result<PostgresLease, SqlError> {
        let (pool, tls) = self.opened().await?;
        let client = pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failure::unavailable(&error),
            error => SqlError::Unavailable(error.to_string()),
        })?;
        Ok(PostgresLease {
            client: Some(client),
            tls: tls.clone(),
            since: None,
            has_failed: false,
            is_running: false,
        })
    }

    /// Returns how many connections jobs have.
    pub(in crate::database) fn in_use(&self) -> usize {
        self.opened.get().map_or(0, |(pool, _)| {
            let status = pool.status();
            status.size.saturating_sub(status.available)
        })
    }

    /// Applies migrations; see [`migrate::apply`].
    ///
    /// # Errors
    /// Those of [`migrate::apply`].
    pub(in crate::database) async fn migrate(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        migrate::apply(&self.migrating().await?, &files).await
    }

    /// Lists the migrations that are to be applied.
    ///
    /// # Errors
    /// Those of [`migrate::pending`].
    pub(in crate::database) async fn pending(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        migrate::pending(&self.migrating().await?, &files).await
    }

    /// Makes a connection for migrations, which is closed afterwards with all that they have set.
    async fn migrating(&self) -> Result<Object, SqlError> {
        let late = SqlError::Unavailable("no connection in time".to_owned());
        let mut lease = timeout(PATIENCE, self.lease()).await.unwrap_or(Err(late))?;
        let gone = || SqlError::Unavailable("the connection is closed".to_owned());
        lease.client.take().ok_or_else(gone)
    }
}

/// Reads a URL.
///
/// # Errors
/// What is wrong with it, without the URL, which may hold a password.
pub(in crate::database) fn config(url: &str) -> Result<Config, String> {
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("not a URL of a PostgreSQL server: {}", cause.unwrap_or_else(|| error.to_string()))
    })?;
    let is_local = |host: &Host| match host {
        Host::Tcp(name) => ["localhost", "127.0.0.1", "::1", "[::1]"].contains(&name.as_str()),
        Host::Unix(_) => true,
    };
    if !url.contains("sslmode=") {
        let is_local = config.get_hosts().iter().all(is_local);
        config.ssl_mode(if is_local { SslMode::Disable } else { SslMode::Require });
    }
    let (statement, transaction, wait) =
        (STATEMENT.as_millis(), TRANSACTION.as_millis(), PATIENCE.as_millis());
    let ours = format!(
        "-c statement_timeout={statement} -c idle_in_transaction_session_timeout={transaction} -c lock_timeout={wait}"
    );
    let options = config.get_options().map_or_else(|| ours.clone(), |theirs| format!("{theirs} {ours}"));
    config.options(options).connect_timeout(CONNECT);
    if config.get_application_name().is_none() {
        config.application_name("portcullis");
    }
    Ok(config)
}

impl PostgresLease {
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
        let left = STATEMENT.min(TRANSACTION.saturating_sub(elapsed)) + GRACE;
        self.is_running = true;
        let late = || Err(SqlError::Timeout("the statement took too long".to_owned()));
        let outcome = timeout(left, self.execute(command)).await.unwrap_or_else(|_| late());
        match outcome {
            // The server may still compute, or send rows that nothing reads.
            Err(SqlError::Timeout(_) | SqlError::TooLarge(_)) => self.abandon(),
            Ok(_) | Err(_) => self.is_running = false,
        }
        outcome
    }

    /// Closes the connection, outside of its pool. The server then rolls back; a statement that runs is stopped.
    fn abandon(&mut self) {
        let Some(client) = self.client.take() else { return };
        let client = Object::take(client);
        if self.is_running
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (cancel, tls) = (client.cancel_token(), self.tls.clone());
            // Bounded by the time of a statement if the server does not listen.
            drop(runtime.spawn(async move { timeout(CONNECT, cancel.cancel_query(tls)).await }));
        }
        self.is_running = false;
    }

    async fn execute(&mut self, command: SqlCommand) -> Result<SqlResult, SqlError> {
        let (sql, parameters) = match command {
            SqlCommand::Begin => ("BEGIN ISOLATION LEVEL SERIALIZABLE".to_owned(), Vec::new()),
            SqlCommand::Commit => ("COMMIT".to_owned(), Vec::new()),
            SqlCommand::Rollback => ("ROLLBACK".to_owned(), Vec::new()),
            SqlCommand::Statement { sql, parameters } => (sql, parameters),
        };
        let Some(client) = &self.client else {
            return Err(SqlError::Unavailable("the connection is closed".to_owned()));
        };
        let words = syntax::words(&sql);
        let words: Vec<&str> = words.iter().map(String::as_str).take(4).collect();
        if self.has_failed && matches!(words[..], ["COMMIT" | "END", ..]) {
            // The server would answer this without an error, and keep nothing.
            (self.since, self.has_failed) = (None, false);
            client.batch_execute("ROLLBACK").await.map_err(|error| failure::of(&error))?;
            return Err(SqlError::Invalid(
                "a statement in the transaction has failed: it was rolled back".to_owned(),
            ));
        }
        if self.since.is_some() && matches!(words[..], ["BEGIN" | "START", ..]) {
            // The server would only warn, and the time of the transaction would begin again.
            return Err(SqlError::Invalid("a transaction is open: end it before the next one".to_owned()));
        }
        let outcome = statement::run(client, &sql, &parameters, self.since.is_some()).await;
        match words[..] {
            ["BEGIN" | "START", ..] if outcome.is_ok() => self.since = Some(Instant::now()),
            ["ROLLBACK", "TO", ..] | ["ROLLBACK", _, "TO", ..] if outcome.is_ok() => self.has_failed = false,
            ["COMMIT" | "END" | "ROLLBACK" | "ABORT", .., before, "CHAIN"] if before != "NO" => {
                self.has_failed = false;
            }
            // A commit that fails has ended the transaction too.
            ["COMMIT" | "END" | "ROLLBACK" | "ABORT", ..] => {
                (self.since, self.has_failed) = (None, false);
            }
            _ if self.since.is_some() && outcome.is_err() => self.has_failed = true,
            _ => {}
        }
        outcome
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
        if self.is_open() {
            self.abandon();
        }
    }
}
