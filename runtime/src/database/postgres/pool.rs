//! The connections to one server: a bounded number, each for one job at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Metrics, Pool, PoolError, RecyclingMethod,
    Runtime,
};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::connect::{CONNECT, OwnConnection, PostgresConnector, uses_tls};
use super::lease::PostgresLease;
use super::look_ups::KnownLookUps;
use super::{failure, migrate, tls};
use crate::database::error::SqlError;
use crate::database::limits::{DATABASE_WAIT, MIGRATION, MIGRATION_LOCK, STATEMENT, TRANSACTION};
use crate::database::migrations::Migration;
use crate::database::turns::ConnectionTurns;

/// A connection that was not used for so long is tried before a job has it: it may be gone without a word.
const TRIED_AFTER: Duration = Duration::from_secs(30);

/// A server with its connections.
pub(in crate::database) struct Postgres {
    url: String,
    /// The certificates of authorities, in PEM.
    ca: Option<Arc<[u8]>>,
    connections: usize,
    turns: Arc<ConnectionTurns>,
    opened: OnceCell<OpenedServer>,
}

/// A server whose settings have been read.
struct OpenedServer {
    /// Connections that return to it are clean.
    pool: Pool,
    known: Arc<KnownLookUps>,
    connector: PostgresConnector,
}

impl Postgres {
    pub(in crate::database) fn new(url: String, ca: Option<Arc<[u8]>>, connections: usize) -> Postgres {
        Postgres { url, ca, connections, turns: ConnectionTurns::new(connections), opened: OnceCell::new() }
    }

    async fn opened(&self) -> Result<&OpenedServer, SqlError> {
        self.opened.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<OpenedServer, SqlError> {
        let config = config(&self.url).map_err(SqlError::Unavailable)?;
        let tls = match uses_tls(&config) {
            false => None,
            true => {
                let ca = self.ca.clone();
                let ended = |error: tokio::task::JoinError| SqlError::Unavailable(error.to_string());
                let made = tokio::task::spawn_blocking(move || tls::connector(ca.as_deref()));
                Some(made.await.map_err(ended)??)
            }
        };
        let connector = PostgresConnector::new(config, tls);
        let (statement, transaction, wait) =
            (STATEMENT.as_millis(), TRANSACTION.as_millis(), DATABASE_WAIT.as_millis());
        let for_jobs = connector.with_options(&format!(
            "-c statement_timeout={statement} -c idle_in_transaction_session_timeout={transaction} -c lock_timeout={wait}"
        ));
        // A lease returns its connection clean.
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(for_jobs.config().clone(), for_jobs.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(self.connections)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .pre_recycle(Hook::async_fn(tried))
            .build()
            .map_err(|error| SqlError::Unavailable(error.to_string()))?;
        Ok(OpenedServer { pool, known: Arc::default(), connector: for_jobs })
    }

    /// Returns a connection when it is the turn of `line`; see [`ConnectionTurns`].
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the credentials.
    pub(in crate::database) async fn lease(&self, line: Option<usize>) -> Result<PostgresLease, SqlError> {
        let OpenedServer { pool, known, connector } = self.opened().await?;
        let turn = self.turns.take(line).await;
        let client = pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failure::unavailable(&error),
            error => SqlError::Unavailable(error.to_string()),
        })?;
        Ok(PostgresLease::new(client, known.clone(), connector.clone(), turn))
    }

    /// Returns how many connections jobs have.
    pub(in crate::database) fn in_use(&self) -> usize {
        self.turns.in_use()
    }

    /// Applies migrations; see [`migrate::apply`].
    ///
    /// # Errors
    /// Those of [`migrate::apply`].
    pub(in crate::database) async fn migrate(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        let connection = self.migrating().await?;
        let outcome = migrate::apply(&connection, &files).await;
        closed(connection, outcome).await
    }

    /// Lists the migrations that are to be applied.
    ///
    /// # Errors
    /// Those of [`migrate::pending`].
    pub(in crate::database) async fn pending(&self, files: Vec<Migration>) -> Result<Vec<String>, SqlError> {
        let connection = self.migrating().await?;
        let outcome = migrate::pending(&connection, &files).await;
        closed(connection, outcome).await
    }

    /// Makes a connection for migrations, which is closed afterwards with all that they have set. It is not one of those
    /// that handlers may hold.
    async fn migrating(&self) -> Result<OwnConnection, SqlError> {
        let (statement, wait) = (MIGRATION.as_millis(), MIGRATION_LOCK.as_millis());
        // The last setting of a name counts.
        let connector = self.opened().await?.connector.with_options(&format!(
            "-c statement_timeout={statement} -c idle_in_transaction_session_timeout=0 -c lock_timeout={wait}"
        ));
        match timeout(DATABASE_WAIT, connector.own()).await {
            Ok(made) => made.map_err(|error| failure::unavailable(&error)),
            Err(_) => Err(SqlError::Unavailable("no connection in time".to_owned())),
        }
    }
}

/// Closes a connection after its work.
async fn closed<T>(connection: OwnConnection, outcome: Result<T, SqlError>) -> Result<T, SqlError> {
    if outcome.is_err() {
        // A migration whose time is over still runs.
        connection.cancel().await;
    }
    connection.close().await;
    outcome
}

/// Tries a connection that was not used for long. If it does not answer, it is replaced.
fn tried<'a>(
    client: &'a mut ClientWrapper,
    metrics: &'a Metrics,
) -> Pin<Box<dyn Future<Output = Result<(), HookError>> + Send + 'a>> {
    Box::pin(async move {
        if metrics.last_used() < TRIED_AFTER {
            return Ok(());
        }
        match timeout(CONNECT, client.simple_query("")).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(HookError::Backend(error)),
            Err(_) => Err(HookError::message("no answer")),
        }
    })
}

/// Reads a URL.
///
/// # Errors
/// What is wrong with it, without the URL, which may hold a password.
pub(in crate::database) fn config(url: &str) -> Result<Config, String> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    // Read as a part of another place, the password would be looked up as a host, and shown as that.
    if rest.split_once('@').is_some_and(|(user, rest)| user.contains(['/', '?', '#']) || rest.contains('@')) {
        return Err(
            "in a user, a password and parameters write @ as %40, / as %2F, ? as %3F and # as %23".to_owned()
        );
    }
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("not a URL of a PostgreSQL server: {}", cause.unwrap_or_else(|| error.to_string()))
    })?;
    if config.get_hosts().is_empty() {
        for address in config.get_hostaddrs().to_vec() {
            config.host(address.to_string());
        }
    }
    let sockets = config.get_hosts().iter().filter(|host| matches!(host, Host::Unix(_))).count();
    if config.get_hosts().is_empty() || sockets > 1 || sockets == 1 && config.get_hosts().len() > 1 {
        return Err("wanted a host, some hosts, or the directory of a socket with each / as %2F".to_owned());
    }
    let is_local = |host: &Host| match host {
        Host::Tcp(name) => ["localhost", "127.0.0.1", "::1", "[::1]"].contains(&name.as_str()),
        Host::Unix(_) => true,
    };
    if !url.contains("sslmode=") {
        let is_local = config.get_hosts().iter().all(is_local);
        config.ssl_mode(if is_local { SslMode::Disable } else { SslMode::Require });
    }
    match config.get_ssl_mode() {
        SslMode::Require if sockets > 0 => {
            return Err("sslmode: a socket has no TLS; leave sslmode out".to_owned());
        }
        SslMode::Disable | SslMode::Require => {}
        // Who is between here and the server decides otherwise whether there is TLS.
        _ => return Err("sslmode: wanted require or disable".to_owned()),
    }
    config.connect_timeout(CONNECT);
    if config.get_application_name().is_none() {
        config.application_name("portcullis");
    }
    Ok(config)
}

/// Returns a URL as it may be shown: the hosts and the database.
pub(in crate::database) fn shown(url: &str) -> String {
    let Ok(config) = config(url) else { return "postgres://".to_owned() };
    let ports = config.get_ports();
    let host = |(place, host): (usize, &Host)| {
        let name = match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
            Host::Tcp(name) => name.clone(),
            Host::Unix(dir) => dir.display().to_string(),
        };
        match ports.get(place).or(ports.first()) {
            None | Some(5432) => name,
            Some(port) => format!("{name}:{port}"),
        }
    };
    let hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
    let database = config.get_dbname().map(|name| format!("/{name}")).unwrap_or_default();
    format!("postgres://{}{database}", hosts.join(","))
}

/// Returns a URL with a password.
pub(in crate::database) fn with_password(url: &str, password: &str) -> String {
    let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}password={encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_added_whole_and_not_shown() {
        for url in ["postgres://ada@h/app", "postgres://ada@h/app?sslmode=disable", "postgres://h"] {
            let whole = with_password(url, "s3cret:@/%?#& é");

            assert_eq!(config(&whole).unwrap().get_password(), Some("s3cret:@/%?#& é".as_bytes()), "{url}");
            assert_eq!(shown(&whole), shown(url));
        }
    }

    #[test]
    fn tls_is_decided_by_the_configuration_alone() {
        let has_tls = |url: &str| config(url).map(|config| uses_tls(&config));

        assert_eq!(has_tls("postgres://db.example.org/app"), Ok(true));
        assert_eq!(has_tls("postgres://localhost/app"), Ok(false));
        assert_eq!(has_tls("postgres://db.example.org/app?sslmode=disable"), Ok(false));
        assert_eq!(has_tls("postgres://ada@%2Frun%2Fpostgresql/app"), Ok(false));
        for url in
            ["postgres://h/app?sslmode=prefer", "postgres://%2Frun/app?sslmode=require", "postgres:///app"]
        {
            assert!(has_tls(url).is_err(), "{url}");
        }
    }
}
