//! TLS options: certificate files, client verification, and the endpoints that stay in clear.

use crate::net::{Endpoint, Listener};
use std::path::{Path, PathBuf};

/// The certificates to present, and the clients to admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificates; never empty. The first also serves clients that send no name, or an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// How clients are verified. `None` admits all clients and requests no certificate.
    pub clients: Option<ClientOptions>,
    /// The endpoints that stay in clear.
    pub plain: Vec<Endpoint>,
}

/// A certificate with its issuers, and its key, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those of its issuers.
    pub cert: TlsFile,
    /// The private key, not encrypted.
    pub key: TlsFile,
}

/// A file, and the option that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The option that names the file, for error messages: `portcullis.toml:12: tls.cert`, `--tlscert`.
    pub named_by: String,
}

/// How clients are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// The certificates of the authorities that may issue client certificates, in PEM.
    pub ca: TlsFile,
    /// The authorities' revocation lists, in PEM. `None` means that nothing is revoked.
    pub crl: Option<TlsFile>,
    /// How a client without a certificate is treated.
    pub demand: ClientAuth,
}

/// How a client without a certificate is treated. A client with an invalid certificate is refused in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// The client is refused.
    Required,
    /// The client is admitted, and the handler learns that it has no certificate.
    Optional,
}

impl TlsOptions {
    /// Returns whether the connections of a listener are encrypted. TCP connections are, unless the endpoint stays in
    /// clear.
    pub fn covers(&self, listener: &Listener) -> bool {
        listener.local_addr().is_some() && !self.plain.contains(listener.endpoint())
    }

    /// Returns whether clients without a certificate are refused.
    pub fn demands_certificates(&self) -> bool {
        self.clients.as_ref().is_some_and(|clients| clients.demand == ClientAuth::Required)
    }

    /// Returns the path of every file to read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let clients = self.clients.iter().flat_map(|clients| [Some(&clients.ca), clients.crl.as_ref()]);
        let certificates = self.certificates.iter().flat_map(|files| [Some(&files.cert), Some(&files.key)]);
        certificates.chain(clients).flatten().map(|file| file.path.as_path())
    }
}
