//! The handlers under test: modules, and a configuration a row, in a directory that goes afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::rows::TRIVIAL;
use crate::servers::PORTCULLIS;

/// What every configuration begins with. Idle connections must outlive the longest run.
const PREAMBLE: &str =
    "listen = [\"tcp://127.0.0.1:0\"]\nhttp.keep_alive = \"24h\"\nhttp.connections = 4096\n";

/// The handlers of this repository.
const HANDLERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../handlers");

/// A directory with all that the daemon is started with.
pub(crate) struct Site {
    dir: TempDir,
    build: PathBuf,
}

impl Site {
    /// Builds the handlers as a user would. Blocks for as long as the compiler takes.
    ///
    /// # Errors
    /// They do not build.
    pub(crate) fn build() -> Result<Site> {
        let handlers = Path::new(HANDLERS).canonicalize().context(HANDLERS)?;
        let mut build = Command::new(PORTCULLIS);
        build.arg("build").arg(&handlers).stdin(Stdio::null()).stdout(Stdio::null());
        let status = build.status().with_context(|| format!("run {PORTCULLIS}"))?;
        ensure!(status.success(), "portcullis build {}: {status}", handlers.display());
        let dir = tempfile::tempdir().context("make a temporary directory")?;
        fs::write(dir.path().join("trivial.wasm"), wat::parse_str(TRIVIAL)?)?;
        Ok(Site { dir, build: handlers.join("build") })
    }

    /// Writes the configuration of a row and returns its path.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub(crate) fn config(&self, name: &str, config: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(format!("{name}.toml"));
        let config = config.replace("BUILD", &self.build.display().to_string());
        fs::write(&path, [PREAMBLE, &config].concat()).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}
