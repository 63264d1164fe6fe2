//! Connects to an origin: look up once, filter, connect to a checked address, speak TLS.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsConnector;

use super::address::{Block, Prohibited};
use super::channel::Channel;
use super::origin::{Origin, Scheme};
use super::resolve::{Resolve, System};
use super::trust::Trust;
use crate::net::endpoint::Host;

/// Connects to origins for one handler, or for the daemon itself. Ignores proxy variables in the environment.
pub struct Dialer {
    /// The name resolver.
    pub resolver: Arc<dyn Resolve>,
    /// The non-public addresses that the handler may reach.
    pub addresses: Vec<Block>,
    /// The trusted certificate authorities.
    pub trust: Trust,
}

/// Why a connection could not be made.
#[derive(Debug)]
pub enum DialError {
    /// The name has no address, or the lookup failed.
    Lookup(io::Error),
    /// Every address of the host needs a grant. This is the first of them.
    Prohibited(Prohibited),
    /// No address accepts a connection; the error of the last attempt.
    Connect(io::Error),
    /// The server's certificate is not trusted, or is for another host.
    Certificate(String),
    /// The TLS handshake failed for another reason.
    Tls(io::Error),
    /// There are no trusted roots.
    Roots(anyhow::Error),
}

/// The minimum time for an attempt at one of several addresses.
const ADDRESS_ATTEMPT: Duration = Duration::from_secs(1);

/// The maximum number of addresses tried per name.
const ATTEMPTS: usize = 4;

impl Dialer {
    /// Makes the dialer of the daemon itself. It reaches every address: its URLs come from the operator, and from servers
    /// that the operator trusts.
    pub fn of_daemon(trust: Trust) -> Dialer {
        Dialer { resolver: Arc::new(System::default()), addresses: Block::everything().to_vec(), trust }
    }

    /// Connects, trying the addresses of the host in their order. `patience` is the caller's time for all attempts.
    /// They share it, so one silent address of several does not use it up.
    ///
    /// # Errors
    /// See [`DialError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket. A lookup continues in its thread, within the bound of
    /// [`System`].
    pub async fn dial(&self, origin: &Origin, patience: Duration) -> Result<Channel, DialError> {
        let addresses = self.permitted(origin).await?;
        let stream = connect(&addresses, origin.port, patience).await.map_err(DialError::Connect)?;
        // Requests are written whole or as they arrive, so Nagle's algorithm only delays them.
        stream.set_nodelay(true).map_err(DialError::Connect)?;
        match origin.scheme {
            Scheme::Http => Ok(Channel::Plain(stream)),
            Scheme::Https => self.secure(stream, origin).await,
        }
    }

    /// Looks up the addresses of a host, once, and keeps those that may be reached.
    async fn permitted(&self, origin: &Origin) -> Result<Vec<IpAddr>, DialError> {
        let found = match &origin.host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => self.resolver.resolve(name).await.map_err(DialError::Lookup)?,
        };
        let mut permitted = Vec::new();
        let mut refused = None;
        for address in found {
            match Block::check(address, &self.addresses) {
                Ok(()) if permitted.contains(&address) => {}
                Ok(()) => permitted.push(address),
                Err(prohibited) => drop(refused.get_or_insert(prohibited)),
            }
        }
        match refused {
            _ if !permitted.is_empty() => Ok(permitted),
            Some(prohibited) => Err(DialError::Prohibited(prohibited)),
            None => Err(DialError::Lookup(io::ErrorKind::NotFound.into())),
        }
    }

    async fn secure(&self, stream: TcpStream, origin: &Origin) -> Result<Channel, DialError> {
        let config = self.trust.config().await.map_err(DialError::Roots)?;
        let name = match &origin.host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|error| DialError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
        };
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(blame)?;
        Ok(Channel::Tls(Box::new(stream)))
    }
}

/// Separates an untrusted certificate from other TLS failures.
fn blame(error: io::Error) -> DialError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => DialError::Certificate(why.to_string()),
        Some(_) | None => DialError::Tls(error),
    }
}

async fn connect(addresses: &[IpAddr], port: u16, patience: Duration) -> io::Result<TcpStream> {
    let attempts = addresses.len().min(ATTEMPTS);
    let share = (patience / u32::try_from(attempts).unwrap_or(1).max(1)).max(ADDRESS_ATTEMPT);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in &addresses[..attempts] {
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        match timeout(share, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Lookup(error) => write!(f, "the host has no address: {error}"),
            DialError::Prohibited(prohibited) => prohibited.fmt(f),
            DialError::Connect(error) => write!(f, "cannot connect: {error}"),
            DialError::Certificate(why) => write!(f, "the certificate is refused: {why}"),
            DialError::Tls(error) => write!(f, "TLS fails: {error}"),
            DialError::Roots(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for DialError {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::BoxFuture;
    use tokio::net::TcpListener;

    use super::*;

    /// A name server that answers differently each time.
    struct Fickle {
        answers: Vec<Vec<IpAddr>>,
        asked: AtomicUsize,
    }

    impl Resolve for Fickle {
        fn resolve(&self, _name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let turn = self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = self.answers[turn.min(self.answers.len() - 1)].clone();
            Box::pin(std::future::ready(Ok(answer)))
        }
    }

    fn fickle(answers: &[&[&str]]) -> Arc<Fickle> {
        let parse = |one: &&[&str]| one.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Fickle { answers: answers.iter().map(parse).collect(), asked: AtomicUsize::new(0) })
    }

    fn dialer(resolver: Arc<Fickle>, grants: &[&str]) -> Dialer {
        let addresses = grants.iter().map(|text| text.parse().unwrap()).collect();
        Dialer { resolver, addresses, trust: Trust::system() }
    }

    async fn listen(address: &str) -> TcpListener {
        TcpListener::bind((address, 0)).await.unwrap()
    }

    async fn dial(dialer: &Dialer, port: u16) -> Result<Channel, DialError> {
        let origin = Origin::new(Scheme::Http, &format!("rebind.test:{port}")).unwrap();
        dialer.dial(&origin, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_and_that_address_is_connected_to() {
        let (good, bad) = (listen("127.0.0.1").await, listen("127.0.0.2").await);
        let resolver = fickle(&[&["127.0.0.1"], &["127.0.0.2"]]);
        let dialer = dialer(resolver.clone(), &["127.0.0.1"]);

        let first = dial(&dialer, good.local_addr().unwrap().port()).await;
        let second = dial(&dialer, bad.local_addr().unwrap().port()).await;

        let Ok(Channel::Plain(stream)) = first else { panic!("{first:?}") };
        assert_eq!(stream.peer_addr().unwrap(), good.local_addr().unwrap());
        assert!(
            matches!(second, Err(DialError::Prohibited(Prohibited { what: "loopback", .. }))),
            "{second:?}"
        );
        assert_eq!(resolver.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn of_several_addresses_those_without_a_grant_are_left_out() {
        let good = listen("127.0.0.1").await;
        let dialer = dialer(fickle(&[&["127.0.0.2", "169.254.169.254", "127.0.0.1"]]), &["127.0.0.1"]);

        let dialled = dial(&dialer, good.local_addr().unwrap().port()).await;

        let Ok(Channel::Plain(stream)) = dialled else { panic!("{dialled:?}") };
        assert_eq!(stream.peer_addr().unwrap(), good.local_addr().unwrap());
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_does_not_answer() {
        let good = listen("127.0.0.1").await;
        // No process listens on this port of 127.0.0.3.
        let dialer = dialer(fickle(&[&["127.0.0.3", "127.0.0.1"]]), &["127.0.0.0/8"]);

        let dialled = dial(&dialer, good.local_addr().unwrap().port()).await;

        assert!(dialled.is_ok(), "{dialled:?}");
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_not_found() {
        let dialled = dial(&dialer(fickle(&[&[]]), &[]), 1).await;

        assert!(matches!(dialled, Err(DialError::Lookup(_))), "{dialled:?}");
    }
}
