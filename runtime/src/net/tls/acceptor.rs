//! TLS acceptor: one generation of certificates, and the handshakes made with it.

use super::acme::AcmeCertificates;
use super::choice::Choice;
use super::client_guide::Guide;
use super::clients::Clients;
use super::failure::FailureKind;
use super::file_hashes::{self, Contents};
use super::identity::{Identity, Term};
use super::options::TlsOptions;
use super::protocol::Protocol;
use super::secured::Secured;
use crate::net::{Listener, Stream};
use anyhow::{Error, Result};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Acceptor, ServerConnection, WebPkiClientVerifier};
use rustls::{HandshakeKind, ServerConfig};
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

/// Turns accepted connections into encrypted ones. Immutable: a reload makes a new acceptor, and open connections keep
/// theirs.
pub struct Tls {
    options: TlsOptions,
    acceptor: TlsAcceptor,
    verifier: Arc<dyn ClientCertVerifier>,
    warnings: Vec<String>,
    contents: Contents,
    guide: Guide,
    terms: Vec<Term>,
    acme: Option<Arc<AcmeCertificates>>,
}

/// Why a connection could not be encrypted.
#[derive(Debug)]
pub enum HandshakeError {
    /// The first byte is not TLS: the client speaks another protocol.
    NotTls(Stream),
    /// The handshake was a validation by an ACME server, and is complete (RFC 8737 §3). No request follows.
    Validation,
    /// The handshake failed. The client received an alert if possible.
    Failed(FailureKind, io::Error),
}

impl Tls {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong, one error per file.
    pub fn load(options: &TlsOptions) -> Result<Tls, Vec<Error>> {
        // Hashed before the files are read for use: a change in between shows as a difference at the next reload.
        let contents = file_hashes::contents(options);
        let provider = Arc::new(crypto::ring::default_provider());
        let (mut identities, mut warnings, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for files in &options.certificates {
            match Identity::load(files, &provider) {
                Ok(mut identity) => {
                    warnings.append(&mut identity.warnings);
                    identities.push(identity);
                }
                Err(refused) => errors.extend(refused),
            }
        }
        let verifier: Arc<dyn ClientCertVerifier> = match &options.clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(clients) => match Clients::load(clients, provider.clone(), &mut warnings) {
                Ok(clients) => Arc::new(clients),
                Err(refused) => {
                    errors.extend(refused);
                    WebPkiClientVerifier::no_client_auth()
                }
            },
        };
        let acme = options.acme.as_ref().map(|acme| AcmeCertificates::load(acme, &mut warnings)).transpose();
        let acme = acme.map(|acme| acme.map(Arc::new)).unwrap_or_else(|refused| {
            errors.extend(refused);
            None
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let choice = Choice::of(&identities, acme.clone());
        let config = config(choice, verifier.clone(), provider).map_err(|error| vec![error])?;
        let chain = identities.first().map_or(&[][..], |first| &first.key.cert);
        let guide = Guide::of(chain, options);
        let terms = identities.iter().map(|identity| identity.term.clone()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Tls { options: options.clone(), acceptor, verifier, warnings, contents, guide, terms, acme })
    }

    /// Returns what is not an error yet: a key that every user may read, a certificate that expires soon.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns when each certificate of the operator expires.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Returns the certificates from an ACME server, if the configuration names one.
    pub fn acme(&self) -> Option<&Arc<AcmeCertificates>> {
        self.acme.as_ref()
    }

    /// Returns what a client needs to connect.
    pub fn guide(&self) -> &Guide {
        &self.guide
    }

    pub(super) fn options(&self) -> &TlsOptions {
        &self.options
    }

    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Returns whether the connections of a listener are encrypted.
    pub fn covers(&self, listener: &Listener) -> bool {
        self.options.covers(listener)
    }

    /// Makes the TLS handshake on a connection. It takes as long as the client does, so the caller must set a timeout.
    ///
    /// # Errors
    /// The client does not speak TLS, or the handshake fails.
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
        if socket.peek(&mut first).await.map_err(failed)? == 1 && first != [22] {
            return Err(HandshakeError::NotTls(Stream::Tcp(socket)));
        }
        let stream = match self.acme.as_ref().filter(|acme| acme.is_validating()) {
            None => self.acceptor.accept(socket).await.map_err(failed)?,
            // Boxed, so that usual handshakes stay small.
            Some(acme) => Box::pin(self.accept_or_validate(acme, socket)).await?,
        };
        let session = stream.get_ref().1;
        self.verify_again(session).map_err(failed)?;
        let secured = Secured::of(session);
        Ok((Stream::Tls(Box::new(stream)), secured))
    }

    /// Makes the handshake on a connection that may be a validation, which only the client's first message tells.
    async fn accept_or_validate(
        &self,
        acme: &AcmeCertificates,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), socket).await.map_err(failed)?;
        let answer = acme.validation(&begun.client_hello());
        let Some(answer) = answer else {
            return begun.into_stream(self.acceptor.config().clone()).await.map_err(failed);
        };
        let mut stream = begun.into_stream(answer).await.map_err(failed)?;
        // RFC 8737 §3: the connection carries no data.
        let _ended = stream.shutdown().await;
        Err(HandshakeError::Validation)
    }

    /// Verifies the client of a resumed session again. rustls reuses the result of the original handshake, but a
    /// certificate may have expired since.
    fn verify_again(&self, session: &ServerConnection) -> io::Result<()> {
        match (session.handshake_kind(), session.peer_certificates()) {
            (Some(HandshakeKind::Resumed), Some([first, others @ ..])) => {
                let verified = self.verifier.verify_client_cert(first, others, UnixTime::now());
                verified.map(drop).map_err(io::Error::other)
            }
            _ => Ok(()),
        }
    }
}

fn failed(error: io::Error) -> HandshakeError {
    HandshakeError::Failed(FailureKind::of(&error), error)
}

fn config(
    choice: Choice,
    verifier: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(choice));
    config.alpn_protocols = Protocol::OFFERED.map(|protocol| protocol.name().into()).to_vec();
    // Each configuration has its own ticketer, so no session is resumed under another. Early data is off
    // (`max_early_data_size` is 0), because it could be replayed.
    config.ticketer = crypto::ring::Ticketer::new()?;
    Ok(config)
}
