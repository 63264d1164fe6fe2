//! A connection to a server, in clear or over TLS.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::net::forward_io::forward_io;

/// A byte stream to a server.
#[derive(Debug)]
pub enum Channel {
    /// In clear.
    Plain(TcpStream),
    /// Over TLS. Boxed, because the TLS state is large.
    Tls(Box<TlsStream<TcpStream>>),
}

forward_io!(Channel: Plain, Tls);
