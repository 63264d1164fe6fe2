//! The HTTP client over TLS.

use std::io::ErrorKind;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::client::{Client, Response, Stream};

impl Client {
    /// Connects to a port of 127.0.0.1 with TLS, for this host name or address. The handshake takes place when the
    /// first byte is sent or read.
    pub(crate) fn tls(port: u16, config: Arc<ClientConfig>, host: &str) -> Client {
        let Stream::Tcp(socket) = Client::tcp(port).stream else { panic!("not TCP") };
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let session = ClientConnection::new(config, host).unwrap();
        Client::over(Stream::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    /// Completes the handshake.
    pub(crate) fn handshaken(mut self) -> Client {
        let stream = self.secured();
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        self
    }

    /// Returns the server's certificate, in DER.
    pub(crate) fn shown_certificate(&mut self) -> Vec<u8> {
        self.secured().conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Sends a GET request. Returns `None` if the server refuses the client; in TLS 1.3 this may show only at the
    /// first read.
    pub(crate) fn get_or_refused(&mut self, target: &str) -> Option<Response> {
        self.try_send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")).ok()?;
        match self.fill() {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(self.response()),
        }
    }

    /// Reads until the connection ends. Returns whether the server sent a closing alert first (RFC 8446 §6.1).
    pub(crate) fn ends_properly(&mut self) -> bool {
        loop {
            match self.fill() {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return false,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("{error} after {:?}", self.shown()),
            }
        }
    }

    fn secured(&mut self) -> &mut StreamOwned<ClientConnection, std::net::TcpStream> {
        match &mut self.stream {
            Stream::Tls(stream) => stream,
            Stream::Tcp(_) | Stream::Unix(_) => panic!("not TLS"),
        }
    }
}
