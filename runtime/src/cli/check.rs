//! `portcullis check`: what `serve` would refuse, without serving.

use std::path::PathBuf;

use anyhow::Result;

use super::{complain, progress, say, serve};
use crate::catalog::Catalog;
use crate::jobs::{Loader, lines};
use crate::net::Tls;
use crate::wasm::{Compilation, Sandbox, WasiHttp03};

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
    let http_03 = WasiHttp03::of(config.wasi_http_03);
    let loader = Loader::new(Sandbox::new(1, Compilation::here(), http_03)?, progress::bar());
    let tls = config.tls.as_ref().map(Tls::load).transpose();
    let (tls, catalog) = match (tls, loader.catalog(config, &Catalog::default())) {
        (Ok(tls), Ok(catalog)) => (tls, catalog),
        (tls, catalog) => {
            let refused = tls.err().into_iter().chain(catalog.err());
            return Err(lines(&refused.flatten().collect::<Vec<_>>()));
        }
    };
    for warning in tls.iter().flat_map(Tls::warnings) {
        complain(&format!("warning: tls: {warning}"));
    }
    say(&format!(
        "{}: {} handlers, {} routes: ok",
        args.config.display(),
        catalog.handlers.len(),
        catalog.routes.len()
    ));
    Ok(())
}
