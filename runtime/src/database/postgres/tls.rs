//! TLS to a server: its certificate is always checked, against the system's authorities and those of `ca`.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::database::error::SqlError;

/// Makes the connector. Blocks: it reads the certificates of this machine. `ca` is the content of a file.
///
/// # Errors
/// The file holds no certificate.
pub(super) fn connector(ca: Option<&[u8]>) -> Result<MakeRustlsConnect, SqlError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca {
        let wrong = |what: String| SqlError::Unavailable(format!("the file `ca`: {what}"));
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| wrong(format!("not PEM: {error:?}")))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong(
                "holds no certificate: wanted a PEM file with that of an authority".to_owned(),
            ));
        }
    } else {
        // A system store may contain an old certificate that cannot be parsed.
        let (_usable, _ignored) =
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SqlError::Unavailable(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
