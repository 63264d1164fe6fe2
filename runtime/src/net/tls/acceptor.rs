//! One generation of certificates, and the handshakes that are made with it.

use super::files;
use super::options::{CertificateFiles, TlsOptions};
use super::protocol::Protocol;
use super::secured::Secured;
use crate::net::{Listener, Stream};
use anyhow::{Context as _, Error, Result};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// What turns accepted connections into encrypted ones. Immutable: a reload makes another, and the connections
/// that are open keep theirs.
pub struct Tls {
    options: TlsOptions,
    acceptor: TlsAcceptor,
}

/// Why there is no encrypted connection.
#[derive(Debug)]
pub enum HandshakeError {
    /// The first byte is none of TLS: the client speaks something else.
    NotTls(Stream),
    /// The handshake failed; the client has been told, if it could be.
    Failed(io::Error),
}

impl Tls {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong, an error a file.
    pub fn load(options: &TlsOptions) -> Result<Tls, Vec<Error>> {
        let provider = Arc::new(ring::default_provider());
        let mut errors = Vec::new();
        let mut keys = Vec::new();
        for files in &options.certificates {
            match certified(files, &provider) {
                Ok(key) => keys.push(key),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let config = config(keys, provider).map_err(|error| vec![error])?;
        Ok(Tls { options: options.clone(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Says whether the connections of a listener are encrypted.
    pub fn covers(&self, listener: &Listener) -> bool {
        self.options.covers(listener)
    }

    /// Makes a connection an encrypted one. Takes as long as the client does: bound it.
    ///
    /// # Errors
    /// The client does not speak TLS, or will not agree.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn handshake(&self, stream: Stream) -> Result<(Stream, Secured), HandshakeError> {
        let socket = match stream {
            Stream::Tcp(socket) => socket,
            other @ (Stream::Unix(_) | Stream::Tls(_)) => return Err(HandshakeError::NotTls(other)),
        };
        let mut first = [0];
        // RFC 8446 §5.1: a handshake is of type 22. A client that closes has sent no byte.
        if socket.peek(&mut first).await.map_err(HandshakeError::Failed)? == 1 && first != [22] {
            return Err(HandshakeError::NotTls(Stream::Tcp(socket)));
        }
        let stream = self.acceptor.accept(socket).await.map_err(HandshakeError::Failed)?;
        let secured = Secured::of(stream.get_ref().1);
        Ok((Stream::Tls(Box::new(stream)), secured))
    }
}

fn config(mut keys: Vec<CertifiedKey>, provider: Arc<CryptoProvider>) -> Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(keys.remove(0))));
    config.alpn_protocols = Protocol::OFFERED.map(|protocol| protocol.name().into()).to_vec();
    // Of its own for each configuration, so that no session outlives what it was verified with.
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

fn certified(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey> {
    let CertificateFiles { cert, key } = files;
    let chain = files::certificates(cert).with_context(|| cert.display().to_string())?;
    let private = files::key(key).with_context(|| key.display().to_string())?;
    CertifiedKey::from_der(chain, private, provider).with_context(|| key.display().to_string())
}
