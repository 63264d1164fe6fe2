//! The handlers under test: modules, and a configuration a row, in a directory that goes afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::rows::TRIVIAL;
use crate::servers::PORTCULLIS;
use crate::tls;

/// What every configuration begins with. Idle connections must outlive the longest run.
const PREAMBLE: &str =
    "listen = [\"tcp://127.0.0.1:0\"]\nhttp.keep_alive = \"24h\"\nhttp.connections = 4096\n";

/// What a configuration says besides, to serve over TLS.
const SECURE: &str = "tls.cert = \"cert.pem\"\ntls.key = \"key.pem\"\n";

/// The handlers of this repository, and the guests of its tests: one of them is of wasi:http 0.3.
const HANDLERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../handlers");
const GUESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests");

/// A directory with all that servers are started with.
pub(crate) struct Site {
    dir: TempDir,
    handlers: PathBuf,
    guests: PathBuf,
}

impl Site {
    /// Builds the handlers as a user would. Blocks for as long as the compiler takes.
    ///
    /// # Errors
    /// They do not build.
    pub(crate) fn build() -> Result<Site> {
        let dir = tempfile::tempdir().context("make a temporary directory")?;
        fs::write(dir.path().join("trivial.wasm"), wat::parse_str(TRIVIAL)?)?;
        tls::certify(dir.path())?;
        Ok(Site { dir, handlers: build(HANDLERS)?, guests: build(GUESTS)? })
    }

    /// Returns the directory, which holds the certificate.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Puts the directories of modules in the place of their names.
    pub(crate) fn placed(&self, text: &str) -> String {
        let [handlers, guests] = [&self.handlers, &self.guests].map(|dir| dir.display().to_string());
        text.replace("HANDLERS", &handlers).replace("GUESTS", &guests)
    }

    /// Writes the configuration of a row and returns its path.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub(crate) fn config(&self, name: &str, config: &str, secure: bool) -> Result<PathBuf> {
        let path = self.dir.path().join(format!("{name}.toml"));
        let config = [PREAMBLE, if secure { SECURE } else { "" }, &self.placed(config)].concat();
        fs::write(&path, config).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// Builds a directory of handlers and says where the modules are.
fn build(dir: &'static str) -> Result<PathBuf> {
    let dir = Path::new(dir).canonicalize().context(dir)?;
    let mut build = Command::new(PORTCULLIS);
    build.arg("build").arg(&dir).stdin(Stdio::null()).stdout(Stdio::null());
    let status = build.status().with_context(|| format!("run {PORTCULLIS}"))?;
    ensure!(status.success(), "portcullis build {}: {status}", dir.display());
    Ok(dir.join("build"))
}
