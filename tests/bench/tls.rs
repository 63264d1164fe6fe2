//! The TLS certificate and settings of the servers and the client.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::baseline::Tongue;

/// The files of the certificate and of its key.
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Writes a self-signed certificate and its key into a directory. Its key is P-256, the most common kind today.
pub(crate) fn certify(dir: &Path) -> Result<()> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(dir.join(CERTIFICATE), pair.cert.pem()).context("write the certificate")?;
    fs::write(dir.join(KEY), pair.signing_key.serialize_pem()).context("write the key")
}

/// Makes client settings that trust the certificate of a directory, and present it. Resumption is off, so every handshake is full.
pub(crate) fn client(dir: &Path, tongue: Tongue) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join(CERTIFICATE))?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        // Sent only if the server asks for it.
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(dir.join(CERTIFICATE))?],
            PrivateKeyDer::from_pem_file(dir.join(KEY))?,
        )?;
    config.alpn_protocols = vec![name(tongue)];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Makes server settings with the certificate of a directory, and with session tickets like the daemon's.
pub(crate) fn server(dir: &Path, tongue: Tongue) -> Result<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(dir.join(CERTIFICATE))?];
    let key = PrivateKeyDer::from_pem_file(dir.join(KEY))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![name(tongue)];
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// Returns the ALPN name of a version of HTTP.
fn name(tongue: Tongue) -> Vec<u8> {
    match tongue {
        Tongue::Http1 => b"http/1.1".into(),
        Tongue::Http2 => b"h2".into(),
    }
}
