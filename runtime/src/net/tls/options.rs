//! What is to be encrypted, for whom, and with which files.

use crate::net::{Endpoint, Listener};
use std::path::{Path, PathBuf};

/// Which certificates there are, and which clients are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// The first is for clients that name no host, or none that another is for; never empty.
    pub certificates: Vec<CertificateFiles>,
    /// Which clients are let in; none: all of them, and nobody is asked for a certificate.
    pub clients: Option<ClientOptions>,
    /// The endpoints that stay in clear.
    pub plain: Vec<Endpoint>,
}

/// A certificate with what leads to its issuer, and its key: both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those of its issuers.
    pub cert: TlsFile,
    /// The private key, not encrypted.
    pub key: TlsFile,
}

/// A file, and who wants it read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFile {
    /// Where it is.
    pub path: PathBuf,
    /// What names it, for whoever has to mend it: `portcullis.toml:12: tls.cert`, `--tlscert`.
    pub named_by: String,
}

/// How clients are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// The certificates of the authorities that may issue those of clients, in PEM.
    pub ca: TlsFile,
    /// The lists of certificates that they have taken back, in PEM; none: they take none back.
    pub crl: Option<TlsFile>,
    /// What becomes of a client without a certificate.
    pub demand: Demand,
}

/// What becomes of a client without a certificate. One with a bad certificate is refused either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// It is refused.
    Required,
    /// It is let in, and the handler is told.
    Optional,
}

impl TlsOptions {
    /// Says whether the connections of a listener are encrypted: those of TCP sockets are, unless their endpoint
    /// is to stay in clear.
    pub fn covers(&self, listener: &Listener) -> bool {
        listener.local_addr().is_some() && !self.plain.contains(listener.endpoint())
    }

    /// Says whether clients without a certificate are refused.
    pub fn demands_certificates(&self) -> bool {
        self.clients.as_ref().is_some_and(|clients| clients.demand == Demand::Required)
    }

    /// Returns every file that is read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let clients = self.clients.iter().flat_map(|clients| [Some(&clients.ca), clients.crl.as_ref()]);
        let certificates = self.certificates.iter().flat_map(|files| [Some(&files.cert), Some(&files.key)]);
        certificates.chain(clients).flatten().map(|file| file.path.as_path())
    }
}
