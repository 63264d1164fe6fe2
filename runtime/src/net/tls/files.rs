//! Reads certificates and keys, and says what is wrong with a file.

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::path::Path;

/// More than any chain of certificates, in bytes.
const LARGEST: u64 = 1 << 20;

/// Reads the certificates of a file; there is at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.context("this is not PEM")?;
    ensure!(!chain.is_empty(), "there is no certificate in it");
    Ok(chain)
}

/// Reads the private key of a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&read(path)?).context("there is no private key in it")
}

/// Reads a file that is small, and no pipe: that could be read only once.
fn read(path: &Path) -> Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if !found.is_file() {
        bail!("this is not a file");
    }
    ensure!(found.len() <= LARGEST, "this is larger than a file of certificates is");
    Ok(fs::read(path)?)
}
