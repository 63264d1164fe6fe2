//! TLS: a certificate for the servers, and what the client and the bare server make of it.

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

/// The certificate in its directory, and its key.
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Makes a certificate of P-256, which most are today, and puts it into a directory with its key.
pub(crate) fn certify(dir: &Path) -> Result<()> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(dir.join(CERTIFICATE), pair.cert.pem()).context("write the certificate")?;
    fs::write(dir.join(KEY), pair.signing_key.serialize_pem()).context("write the key")
}

/// Believes the certificate of a directory and talks HTTP of this kind; makes every handshake a full one.
pub(crate) fn client(dir: &Path, tongue: Tongue) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join(CERTIFICATE))?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![name(tongue)];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Shows the certificate of a directory, with tickets as the daemon gives them.
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

/// Names HTTP of a kind as ALPN does.
fn name(tongue: Tongue) -> Vec<u8> {
    match tongue {
        Tongue::Http1 => b"http/1.1".into(),
        Tongue::Http2 => b"h2".into(),
    }
}
