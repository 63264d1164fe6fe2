//! The byte stream of a connection, in clear or over TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::exchange::HOST;

/// A connected, non-blocking stream.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Connects. Blocks until the kernel has answered.
///
/// # Errors
/// No process listens on the address.
pub(super) fn connected(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Transport {
    /// Connects. A TLS handshake takes place during later reads and writes.
    pub(super) fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Transport> {
        let stream = connected(address)?;
        stream.set_nonblocking(true)?;
        let Some(tls) = tls else { return Ok(Transport::Plain(stream)) };
        let session = ClientConnection::new(tls.clone(), HOST.try_into()?)?;
        Ok(Transport::Tls(Box::new(StreamOwned::new(session, stream))))
    }

    /// Makes the connection close with a reset. Otherwise thousands of closes per second would leave every port in
    /// TIME_WAIT.
    pub(super) fn end_at_once(&self) -> Result<()> {
        rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO)).context("SO_LINGER")
    }

    /// Reports whether a short read has emptied the stream, as epoll(7) says of sockets.
    pub(super) fn tells_when_empty(&self) -> bool {
        matches!(self, Transport::Plain(_))
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Transport::Plain(stream) => stream.as_fd(),
            Transport::Tls(stream) => stream.sock.as_fd(),
        }
    }
}

impl Read for Transport {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) => stream.read(space),
            Transport::Tls(stream) => stream.read(space),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) => stream.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(stream) => stream.flush(),
            Transport::Tls(stream) => stream.flush(),
        }
    }
}
