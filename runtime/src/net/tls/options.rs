//! What is to be encrypted, and with which files.

use crate::net::{Endpoint, Listener};
use std::path::{Path, PathBuf};

/// Which certificates there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// The first is for clients that name no host, or none that another is for; never empty.
    pub certificates: Vec<CertificateFiles>,
    /// The endpoints that stay in clear.
    pub plain: Vec<Endpoint>,
}

/// A certificate with what leads to its issuer, and its key: both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those of its issuers.
    pub cert: PathBuf,
    /// The private key, not encrypted.
    pub key: PathBuf,
}

impl TlsOptions {
    /// Says whether the connections of a listener are encrypted: those of TCP sockets are, unless their endpoint
    /// is to stay in clear.
    pub fn covers(&self, listener: &Listener) -> bool {
        listener.local_addr().is_some() && !self.plain.contains(listener.endpoint())
    }

    /// Returns every file that is read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.certificates.iter().flat_map(|files| [files.cert.as_path(), files.key.as_path()])
    }
}
