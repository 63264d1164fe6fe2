//! The TLS flags, named as those of Docker's daemon.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::config::Config;
use crate::net::{CertificateFiles, ClientAuth, ClientOptions, TlsFile, TlsOptions};

/// TLS flags, which override the configuration.
#[derive(clap::Args, Clone)]
pub(super) struct TlsFlags {
    /// Refuse to serve tcp:// and fd:// sockets without TLS. Needs a certificate, by --tlscert or [tls].
    #[arg(long)]
    tls: bool,
    /// Accept only clients with a certificate of an authority in --tlscacert or tls.client_ca. Implies --tls.
    #[arg(long)]
    tlsverify: bool,
    /// The authorities of client certificates, in PEM.
    #[arg(long, value_name = "FILE", requires = "tlsverify")]
    tlscacert: Option<PathBuf>,
    /// The certificate, in PEM, followed by those of its issuers. Replaces those of [tls].
    #[arg(long, value_name = "FILE", requires = "tlskey")]
    tlscert: Option<PathBuf>,
    /// Its private key, in PEM, not encrypted.
    #[arg(long, value_name = "FILE", requires = "tlscert")]
    tlskey: Option<PathBuf>,
}

impl TlsFlags {
    /// Applies the flags to a configuration.
    ///
    /// # Errors
    /// A file is named neither by a flag nor by the configuration.
    pub(super) fn put_over(&self, config: &mut Config) -> Result<()> {
        if let (Some(cert), Some(key)) = (&self.tlscert, &self.tlskey) {
            let certificates =
                vec![CertificateFiles { cert: flagged("--tlscert", cert), key: flagged("--tlskey", key) }];
            let (clients, plain) = match config.tls.take() {
                Some(TlsOptions { clients, plain, .. }) => (clients, plain),
                None => (None, Vec::new()),
            };
            config.tls = Some(TlsOptions { certificates, acme: None, clients, plain });
        }
        let flag = match (self.tlsverify, self.tls) {
            (true, _) => "--tlsverify",
            (false, true) => "--tls",
            (false, false) => return Ok(()),
        };
        let Some(tls) = &mut config.tls else {
            bail!(
                "{flag}: there is no certificate: give --tlscert and --tlskey, or write [tls] into the configuration"
            );
        };
        if self.tlsverify {
            let (ca, crl) = match (&self.tlscacert, tls.clients.take()) {
                (Some(ca), before) => (flagged("--tlscacert", ca), before.and_then(|clients| clients.crl)),
                (None, Some(ClientOptions { ca, crl, .. })) => (ca, crl),
                (None, None) => {
                    bail!(
                        "--tlsverify: there is no authority: give --tlscacert, or write tls.client_ca into the configuration"
                    )
                }
            };
            tls.clients = Some(ClientOptions { ca, crl, demand: ClientAuth::Required });
        }
        Ok(())
    }
}

fn flagged(flag: &str, path: &Path) -> TlsFile {
    TlsFile { path: path.to_owned(), named_by: flag.to_owned() }
}
