//! TLS, from the named files to the encrypted connection; the only module for incoming connections that uses rustls.
//!
//! Floors, lowest first: `failure`, `name`, `options`, `protocol`, `validity`; `files`, `secured`; `clients`,
//! `contents`, `guide`, `identity`; `choice`; `acceptor`; `difference`.

mod acceptor;
mod choice;
mod clients;
mod contents;
mod difference;
mod failure;
mod files;
mod guide;
mod identity;
mod name;
mod options;
mod protocol;
mod secured;
mod validity;

pub use acceptor::{HandshakeError, Tls};
pub use difference::differences;
pub use failure::FailureKind;
pub use guide::Guide;
pub use identity::Term;
pub use options::{CertificateFiles, ClientAuth, ClientOptions, TlsFile, TlsOptions};
pub use protocol::Protocol;
pub use secured::Secured;
