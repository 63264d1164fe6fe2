//! TLS, from the named files to the encrypted connection; the only module for incoming connections that uses rustls.
//!
//! Floors, lowest first: `failure`, `distinguished_name`, `options`, `protocol`, `validity`; `files`, `secured`;
//! `clients`, `file_hashes`, `client_guide`, `identity`; `acme`; `choice`; `acceptor`; `difference`.

mod acceptor;
mod acme;
mod choice;
mod client_guide;
mod clients;
mod difference;
mod distinguished_name;
mod failure;
mod file_hashes;
mod files;
mod identity;
mod options;
mod protocol;
mod secured;
mod validity;

pub use acceptor::{HandshakeError, Tls};
pub use acme::{AcmeCertificates, DomainReport, WaitingChallenge};
pub use client_guide::Guide;
pub use difference::differences;
pub use failure::FailureKind;
pub use identity::Term;
pub use options::{
    AcmeOptions, CertificateFiles, ChallengeKind, ClientAuth, ClientOptions, TlsFile, TlsOptions,
};
pub use protocol::Protocol;
pub use secured::Secured;
