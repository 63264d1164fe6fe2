//! TLS: from the files as they are named to the connection that is encrypted; the only place that knows rustls.

mod acceptor;
mod files;
mod options;
mod protocol;
mod secured;

pub use acceptor::{HandshakeError, Tls};
pub use options::{CertificateFiles, TlsOptions};
pub use protocol::Protocol;
pub use secured::Secured;
