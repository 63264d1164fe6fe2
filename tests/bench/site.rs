//! The site under test: modules, and a configuration for each row, in a temporary directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::rows::TRIVIAL;
use crate::servers::PORTCULLIS;
use crate::tls;

/// The beginning of every configuration. Idle connections must outlive the longest run.
const PREAMBLE: &str =
    "listen = [\"tcp://127.0.0.1:0\"]\nhttp.keep_alive = \"24h\"\nhttp.connections = 4096\n";

/// The part of a configuration that enables TLS.
const SECURE: &str = "tls.cert = \"cert.pem\"\ntls.key = \"key.pem\"\n";

/// The handlers of this repository, and the test guests, which include one for wasi:http 0.3.
const HANDLERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../handlers");
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests");

/// A directory with all files that servers need.
pub(crate) struct Site {
    dir: TempDir,
    handlers: PathBuf,
    guests: PathBuf,
}

impl Site {
    /// Builds the handlers as a user would. Blocks while the compiler runs.
    ///
    /// # Errors
    /// A handler does not build.
    pub(crate) fn build() -> Result<Site> {
        let dir = tempfile::tempdir().context("make a temporary directory")?;
        fs::write(dir.path().join("trivial.wasm"), wat::parse_str(TRIVIAL)?)?;
        tls::certify(dir.path())?;
        Ok(Site { dir, handlers: build(HANDLERS)?, guests: build(GUESTS)? })
    }

    /// Returns the directory, which contains the certificate.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces the placeholders of module directories by their paths.
    pub(crate) fn placed(&self, text: &str) -> String {
        let [handlers, guests] = [&self.handlers, &self.guests].map(|dir| dir.display().to_string());
        text.replace("HANDLERS", &handlers).replace("GUESTS", &guests)
    }

    /// Writes the configuration of a row and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn config(&self, name: &str, config: &str, secure: bool) -> Result<PathBuf> {
        let path = self.dir.path().join(format!("{name}.toml"));
        let config = [PREAMBLE, if secure { SECURE } else { "" }, &self.placed(config)].concat();
        fs::write(&path, config).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// Builds a directory of handlers and returns the directory of the modules.
fn build(dir: &'static str) -> Result<PathBuf> {
    let dir = Path::new(dir).canonicalize().context(dir)?;
    let mut build = Command::new(PORTCULLIS);
    build.arg("build").arg(&dir).stdin(Stdio::null()).stdout(Stdio::null());
    let status = build.status().with_context(|| format!("run {PORTCULLIS}"))?;
    ensure!(status.success(), "portcullis build {}: {status}", dir.display());
    Ok(dir.join("build"))
}
