//! TLS options: certificate files, client verification, and the endpoints that stay in clear.

use crate::net::{Endpoint, Listener};
use std::path::{Path, PathBuf};

/// The certificates to present, and the clients to admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificates in files of the operator; not empty unless `acme` is set. The first also serves clients that
    /// send no name, or an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// The certificates that an ACME server issues. `None` without such a server.
    pub acme: Option<AcmeOptions>,
    /// How clients are verified. `None` admits all clients and requests no certificate.
    pub clients: Option<ClientOptions>,
    /// The endpoints that stay in clear.
    pub plain: Vec<Endpoint>,
}

/// How certificates are obtained from an ACME server (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeOptions {
    /// The host names, in lower case, each once; never empty. Each gets a certificate of its own.
    pub domains: Vec<String>,
    /// The address that the server may write to about the account.
    pub email: Option<String>,
    /// The URL of the server's directory, which begins with `https://`.
    pub directory: String,
    /// The authorities to trust besides the system's, for requests to the server.
    pub ca: Option<TlsFile>,
    /// The kinds of validation to use, the preferred first; never empty.
    pub challenges: Vec<ChallengeKind>,
    /// The directory for the account and the certificates. The daemon makes it.
    pub dir: PathBuf,
}

/// How the ACME server validates that a host name leads to this daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By a TLS handshake on port 443 of the host (RFC 8737).
    TlsAlpn01,
    /// By a request in clear to port 80 of the host (RFC 8555 §8.3).
    Http01,
}

impl ChallengeKind {
    /// Both kinds, the preferred first.
    pub const ALL: [ChallengeKind; 2] = [ChallengeKind::TlsAlpn01, ChallengeKind::Http01];

    /// Returns the name of the kind in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            ChallengeKind::TlsAlpn01 => "tls-alpn-01",
            ChallengeKind::Http01 => "http-01",
        }
    }
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
        let authority = self.acme.iter().map(|acme| acme.ca.as_ref());
        certificates.chain(clients).chain(authority).flatten().map(|file| file.path.as_path())
    }
}
