//! The trusted certificate authorities: those of the system, and those an operator adds.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

/// The roots against which the servers of one handler are checked. They are loaded at the first TLS connection, so a
/// handler without one reads nothing.
pub struct Trust {
    added: RootCertStore,
    config: OnceCell<Arc<ClientConfig>>,
}

/// The roots of this machine, read once.
static SYSTEM: OnceCell<RootCertStore> = OnceCell::const_new();

impl Trust {
    /// Trusts the authorities of the system.
    pub fn system() -> Trust {
        Trust { added: RootCertStore::empty(), config: OnceCell::new() }
    }

    /// Trusts the authorities of the system, and those of a PEM file if there is one.
    ///
    /// # Errors
    /// As [`and`](Trust::and).
    pub fn with(pem: Option<&[u8]>) -> Result<Trust> {
        pem.map_or_else(|| Ok(Trust::system()), Trust::and)
    }

    /// Trusts the authorities of the system and those of a PEM file.
    ///
    /// # Errors
    /// The file contains no usable certificate, or is not PEM.
    pub fn and(pem: &[u8]) -> Result<Trust> {
        let mut added = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.context("not PEM")?;
            added.add(certificate).context("not a usable certificate")?;
        }
        ensure!(!added.is_empty(), "holds no certificate: wanted a PEM file with that of an authority");
        Ok(Trust { added, config: OnceCell::new() })
    }

    /// Returns the settings of TLS clients: versions 1.2 and 1.3, HTTP/1.1.
    ///
    /// # Errors
    /// There are no trusted roots.
    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>> {
        self.config.get_or_try_init(|| self.make()).await.cloned()
    }

    async fn make(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = match (SYSTEM.get_or_try_init(system).await, self.added.is_empty()) {
            (Ok(roots), _) => roots.clone(),
            (Err(_), false) => RootCertStore::empty(),
            (Err(none), true) => return Err(none),
        };
        roots.extend(self.added.roots.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Reads the roots of this machine.
async fn system() -> Result<RootCertStore> {
    let found = spawn_blocking(rustls_native_certs::load_native_certs).await?;
    let mut roots = RootCertStore::empty();
    // A system store may contain an old certificate that cannot be parsed.
    let (_usable, _ignored) = roots.add_parsable_certificates(found.certs);
    ensure!(
        !roots.is_empty(),
        "this machine has no root certificates: install ca-certificates, or set outbound.ca"
    );
    Ok(roots)
}
