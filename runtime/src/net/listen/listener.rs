//! A listening socket, and an accept that never fails.

use super::accept_backoff::{AcceptBackoff, AfterFailure, LogDecision};
use super::socket_file::SocketFile;
use crate::net::endpoint::Endpoint;
use crate::net::peer::{Credentials, Peer};
use crate::net::stream::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::net::{TcpListener, UnixListener};

/// A bound socket. Dropping it removes the file of a Unix socket, unless another file has replaced it.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    local: String,
    // Declared before the socket, so that the file is removed while the socket still listens behind it.
    file: Option<SocketFile>,
    // Held so that `Activation` knows the socket is taken; dropping it frees the socket.
    taken: Option<Arc<()>>,
    socket: BoundSocket,
    patience: Mutex<AcceptBackoff>,
}

/// The socket, with the text of the local address where it is the same for every connection.
#[derive(Debug)]
enum BoundSocket {
    Tcp { socket: TcpListener, addr: SocketAddr, text: Arc<str> },
    Unix { socket: UnixListener, nowhere: Arc<str> },
}

impl Listener {
    /// Wraps a non-blocking TCP socket that listens. Needs a tokio runtime.
    pub(super) fn tcp(endpoint: Endpoint, socket: std::net::TcpListener) -> io::Result<Listener> {
        let addr = socket.local_addr()?;
        let text = addr.ip().to_canonical().to_string().into();
        let socket = BoundSocket::Tcp { socket: TcpListener::from_std(socket)?, addr, text };
        Ok(Listener::new(endpoint, format!("tcp://{addr}"), None, socket))
    }

    /// Wraps a listening, non-blocking Unix socket. `file` is its path, if this process may remove it. Needs a tokio
    /// runtime.
    pub(super) fn unix(
        endpoint: Endpoint,
        socket: std::os::unix::net::UnixListener,
        local: String,
        file: Option<SocketFile>,
    ) -> io::Result<Listener> {
        let socket = BoundSocket::Unix { socket: UnixListener::from_std(socket)?, nowhere: "".into() };
        Ok(Listener::new(endpoint, local, file, socket))
    }

    fn new(endpoint: Endpoint, local: String, file: Option<SocketFile>, socket: BoundSocket) -> Listener {
        Listener { endpoint, local, file, taken: None, socket, patience: Mutex::default() }
    }

    /// Records that systemd passed the socket.
    pub(super) fn passed(self, taken: Arc<()>) -> Listener {
        Listener { taken: Some(taken), ..self }
    }

    /// Leaves the file of a Unix socket in place: another process serves it, or will.
    pub(super) fn leave_file(&self) {
        self.file.iter().for_each(SocketFile::leave);
    }

    /// Makes this process responsible for removing the file of a Unix socket that another process bound.
    pub(super) fn own_file(&self) {
        self.file.iter().for_each(SocketFile::own);
    }

    /// The endpoint as configured. A name with several addresses has one listener per address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The address as bound, with the port the kernel chose: `tcp://127.0.0.1:41234`.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The TCP address as bound, or `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            BoundSocket::Tcp { addr, .. } => Some(*addr),
            BoundSocket::Unix { .. } => None,
        }
    }

    /// Accepts the next connection. Never fails. If one connection fails, the next one is accepted. A lack of
    /// descriptors or memory is logged once and waited out, with a backoff from 50 ms to 1 s. Meanwhile connections
    /// queue in the kernel.
    ///
    /// # Cancel safety
    /// No connection is lost, and the next call continues the wait.
    pub async fn accept(&self) -> (Stream, Peer) {
        loop {
            let due = self.patience().until();
            if let Some(due) = due {
                tokio::time::sleep_until(due.into()).await;
            }
            match self.accept_once().await {
                Ok(accepted) => {
                    self.note_success();
                    return accepted;
                }
                Err(error) => self.note_failure(&error),
            }
        }
    }

    /// Reports whether connections wait that no other process will accept. Returns `false` for a socket from systemd,
    /// because systemd keeps its queue.
    pub fn has_waiting(&self) -> bool {
        let mut waiting = [PollFd::new(self, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.taken.is_none() && matches!(poll(&mut waiting, Some(&now)), Ok(1..))
    }

    async fn accept_once(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            BoundSocket::Tcp { socket, addr, text } => {
                let (stream, remote) = socket.accept().await?;
                // Responses are written whole, so Nagle's algorithm only delays them. A failure here costs only speed.
                let _ = stream.set_nodelay(true);
                let reached = if addr.ip().is_unspecified() { stream.local_addr().ok() } else { None };
                let server_addr =
                    reached.map_or_else(|| text.clone(), |addr| addr.ip().to_canonical().to_string().into());
                Ok((Stream::Tcp(stream), Peer::tcp(remote, server_addr, addr.port())))
            }
            BoundSocket::Unix { socket, nowhere } => {
                let (stream, _) = socket.accept().await?;
                // A client without kernel credentials is not served: later layers grant access by uid.
                let cred = stream.peer_cred().map_err(|_| io::Error::from(Errno::CONNABORTED))?;
                let credentials = Credentials { uid: cred.uid(), gid: cred.gid(), pid: cred.pid() };
                Ok((Stream::Unix(stream), Peer::unix(credentials, nowhere.clone())))
            }
        }
    }

    fn note_failure(&self, error: &io::Error) {
        let next = self.patience().failed(error, Instant::now());
        match next {
            AfterFailure::AtOnce => {
                tracing::debug!(listener = self.local, %error, "a connection was lost before it was accepted")
            }
            AfterFailure::Wait(LogDecision::Silent) => {}
            AfterFailure::Wait(LogDecision::Log) => {
                tracing::warn!(listener = self.local, %error, "cannot accept: connections wait in the kernel's queue until it passes");
            }
        }
    }

    fn note_success(&self) {
        let recovery = self.patience().succeeded(Instant::now());
        if let Some(recovery) = recovery {
            let (lasted, retries) = (recovery.lasted, recovery.retries);
            tracing::info!(listener = self.local, ?lasted, retries, "accepting again");
        }
    }

    fn patience(&self) -> MutexGuard<'_, AcceptBackoff> {
        // The counters are consistent after every statement, so a poisoned lock guards nothing broken.
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            BoundSocket::Tcp { socket, .. } => socket.as_fd(),
            BoundSocket::Unix { socket, .. } => socket.as_fd(),
        }
    }
}

/// Returns whether other machines can reach a listener.
pub(super) fn is_exposed(listener: &Listener) -> bool {
    listener.local_addr().is_some_and(|addr| !addr.ip().to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::bind;
    use super::*;
    use crate::net::{Activation, BindOptions};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};

    fn listen(endpoint: &str) -> Listener {
        let endpoints = [endpoint.parse().unwrap()];
        bind(&endpoints, &BindOptions::default(), &mut Activation::none()).unwrap().remove(0)
    }

    async fn accepted(listener: &Listener) -> (Stream, Peer) {
        tokio::time::timeout(Duration::from_secs(60), listener.accept()).await.unwrap()
    }

    #[tokio::test]
    async fn a_tcp_client_is_described() {
        let listener = listen("tcp://127.0.0.1:0");
        let addr = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(addr).await.unwrap();

        let (mut stream, peer) = accepted(&listener).await;

        client.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        assert_eq!(listener.local(), format!("tcp://{addr}"));
        assert_eq!(peer.remote_port(), Some(client.local_addr().unwrap().port()));
        assert_eq!((&**peer.remote_addr(), &**peer.server_addr()), ("127.0.0.1", "127.0.0.1"));
        assert_eq!(peer.server_port(), Some(addr.port()));
        let Stream::Tcp(stream) = stream else { panic!("not TCP") };
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_wildcard_listener_tells_the_address_that_was_reached() {
        let listener = listen("tcp://0.0.0.0:0");
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.2", port)).await.unwrap();

        let (_, peer) = accepted(&listener).await;

        assert_eq!(&**peer.server_addr(), "127.0.0.2");
    }

    #[tokio::test]
    async fn a_unix_client_is_known_by_its_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = listen(&format!("unix://{}", path.display()));
        let _client = UnixStream::connect(&path).await.unwrap();

        let (_, peer) = accepted(&listener).await;

        let credentials = peer.credentials().unwrap();
        assert_eq!(credentials.uid, rustix::process::geteuid().as_raw());
        assert_eq!(credentials.pid, Some(std::process::id().cast_signed()));
    }

    #[tokio::test]
    async fn a_client_that_left_before_the_accept_does_not_stop_it() {
        let listener = listen("tcp://127.0.0.1:0");
        let addr = listener.local_addr().unwrap();
        let gone = socket2::Socket::from(std::net::TcpStream::connect(addr).unwrap());
        gone.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(gone);
        let client = TcpStream::connect(addr).await.unwrap();
        let port = client.local_addr().ok().map(|addr| addr.port());

        while accepted(&listener).await.1.remote_port() != port {}
    }

    #[tokio::test]
    async fn only_addresses_beyond_the_machine_are_exposed() {
        let dir = tempfile::tempdir().unwrap();

        assert!(is_exposed(&listen("tcp://0.0.0.0:0")));
        assert!(!is_exposed(&listen("tcp://127.0.0.2:0")));
        assert!(!is_exposed(&listen(&format!("unix://{}/s", dir.path().display()))));
    }
}
