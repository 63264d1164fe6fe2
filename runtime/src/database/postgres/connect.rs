//! Makes connections to a server: over TLS, without it, or through a socket file. Each bounds the server's messages.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::ops::Deref;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::Connect;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Client, Config, Connection, Error, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::frames::FrameBound;

/// The longest wait for a connection to be made: below the wait of a job, so that the error names its cause.
pub(super) const CONNECT: Duration = Duration::from_secs(3);

/// Makes connections to one server.
#[derive(Clone)]
pub(super) struct PostgresConnector {
    config: Config,
    /// `None` for connections without TLS.
    tls: Option<MakeRustlsConnect>,
}

/// A connection outside of a pool. Dropping it breaks it off; [`close`](OwnConnection::close) ends it.
pub(super) struct OwnConnection {
    client: Client,
    task: OwnTask,
    connector: PostgresConnector,
}

/// The task that serves an [`OwnConnection`]. Dropping it ends the task.
struct OwnTask(JoinHandle<()>);

/// TLS whose content is bounded.
#[derive(Clone)]
struct BoundedTls(MakeRustlsConnect);

/// A handshake of TLS whose content is bounded.
struct BoundedHandshake(<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect);

/// No TLS, where tokio-postgres begins with it: the only place to bound what it reads.
#[derive(Clone, Copy)]
struct Plain;

impl PostgresConnector {
    /// Makes a connector. `tls` is what [`uses_tls`] says.
    pub(super) fn new(mut config: Config, tls: Option<MakeRustlsConnect>) -> PostgresConnector {
        if tls.is_none() && socket(&config).is_none() {
            // The handshake is left out by `Plain`, and nothing comes before it.
            config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        }
        PostgresConnector { config, tls }
    }

    /// Makes a connection, and the task that serves it.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the credentials.
    async fn connect(&self) -> Result<(Client, JoinHandle<()>), Error> {
        let config = &self.config;
        match (&self.tls, socket(config)) {
            (Some(tls), _) => Ok(served(config.connect(BoundedTls(tls.clone())).await?)),
            (None, None) => Ok(served(config.connect(Plain).await?)),
            (None, Some((dir, port))) => Ok(served(config.connect_raw(open(dir, port).await, NoTls).await?)),
        }
    }

    /// Makes a connection that is in no pool.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the credentials.
    pub(super) async fn own(&self) -> Result<OwnConnection, Error> {
        let (client, task) = self.connect().await?;
        Ok(OwnConnection { client, task: OwnTask(task), connector: self.clone() })
    }

    /// Asks the server to stop what a connection runs.
    pub(super) async fn cancel(&self, token: &CancelToken) -> Result<(), Error> {
        match (&self.tls, socket(&self.config)) {
            (Some(tls), _) => token.cancel_query(BoundedTls(tls.clone())).await,
            (None, None) => token.cancel_query(Plain).await,
            (None, Some((dir, port))) => token.cancel_query_raw(open(dir, port).await, NoTls).await,
        }
    }

    /// Returns a copy with these options for the server's sessions, beside those of the URL.
    pub(super) fn with_options(&self, options: &str) -> PostgresConnector {
        let mut changed = self.clone();
        let all = self.config.get_options().map(|theirs| format!("{theirs} {options}"));
        changed.config.options(all.unwrap_or_else(|| options.to_owned()));
        changed
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

/// Whether connections are to use TLS.
pub(super) fn uses_tls(config: &Config) -> bool {
    config.get_ssl_mode() == SslMode::Require
}

/// Returns the directory and the port of a socket file.
fn socket(config: &Config) -> Option<(&Path, u16)> {
    let Some(Host::Unix(dir)) = config.get_hosts().first() else { return None };
    Some((dir.as_path(), config.get_ports().first().copied().unwrap_or(5432)))
}

/// Opens a socket file. An error comes with the first use, as tokio-postgres has none of its own to return.
async fn open(dir: &Path, port: u16) -> FrameBound<UnixStream> {
    let opened = timeout(CONNECT, UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))));
    match opened.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(stream) => FrameBound::plain(stream),
        Err(error) => FrameBound::failed(error),
    }
}

/// Starts the task that serves a connection.
fn served<S, T>((client, connection): (Client, Connection<S, T>)) -> (Client, JoinHandle<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            // Its user has the error too.
            tracing::debug!("a connection to PostgreSQL ended: {error}");
        }
    });
    (client, task)
}

impl Connect for PostgresConnector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(self.connect())
    }
}

impl Deref for OwnConnection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl OwnConnection {
    /// Asks the server to stop the statement that runs, if there is one. Waits 3 s at the most.
    pub(super) async fn cancel(&self) {
        // Without an answer, the server ends the statement when its time is over.
        let _unheard = timeout(CONNECT, self.connector.cancel(&self.client.cancel_token())).await;
    }

    /// Closes the connection with the Terminate message of the protocol, and waits up to 3 s until it is sent. Without it,
    /// the server logs a lost connection.
    pub(super) async fn close(self) {
        let OwnConnection { client, mut task, .. } = self;
        // The task sends the message once the client is dropped and every answer has come.
        drop(client);
        let _late = timeout(CONNECT, &mut task.0).await;
    }
}

impl Drop for OwnTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl MakeTlsConnect<Socket> for BoundedTls {
    type Stream = FrameBound<<MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;
    type TlsConnect = BoundedHandshake;
    type Error = Infallible;

    fn make_tls_connect(&mut self, domain: &str) -> Result<BoundedHandshake, Infallible> {
        MakeTlsConnect::<Socket>::make_tls_connect(&mut self.0, domain).map(BoundedHandshake)
    }
}

impl TlsConnect<Socket> for BoundedHandshake {
    type Stream = FrameBound<<MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, std::io::Error>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        let handshake = self.0.connect(stream);
        Box::pin(async move { handshake.await.map(FrameBound::over_tls) })
    }
}

impl MakeTlsConnect<Socket> for Plain {
    type Stream = FrameBound<Socket>;
    type TlsConnect = Plain;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Plain, Infallible> {
        Ok(Plain)
    }
}

impl TlsConnect<Socket> for Plain {
    type Stream = FrameBound<Socket>;
    type Error = Infallible;
    type Future = Ready<Result<FrameBound<Socket>, Infallible>>;

    fn connect(self, stream: Socket) -> Self::Future {
        ready(Ok(FrameBound::plain(stream)))
    }
}
