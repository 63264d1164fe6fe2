//! `portcullis check`: what `serve` would refuse, without serving.

use std::path::PathBuf;

use anyhow::Result;

use super::{progress, say, serve};
use crate::catalog::Catalog;
use crate::jobs::{Loader, lines};
use crate::wasm::{Compilation, Sandbox};

/// Reads a configuration, compiles its modules and resolves their imports, and reports every mistake.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "portcullis.toml")]
    config: PathBuf,
    #[command(flatten)]
    flags: serve::Flags,
}

pub(super) fn check(args: Args) -> Result<()> {
    let config = args.flags.config(&args.config)?;
    let loader = Loader::new(Sandbox::new(1, Compilation::here())?, progress::bar());
    let catalog = loader.catalog(config, &Catalog::default()).map_err(|errors| lines(&errors))?;
    say(&format!(
        "{}: {} handlers, {} routes: ok",
        args.config.display(),
        catalog.handlers.len(),
        catalog.routes.len()
    ));
    Ok(())
}
