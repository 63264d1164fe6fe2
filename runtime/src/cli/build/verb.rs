//! `portcullis build`: builds handlers without serving them.

use std::path::PathBuf;

use anyhow::Result;

use super::BuildOptions;
use crate::cli::{complain, say};

/// Build the handlers of a directory into DIR/build: crates with cargo, .wat files without it.
///
/// A missing wasm target is added through rustup.
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The directory of the handlers.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

pub(in crate::cli) fn run(args: Args) -> Result<()> {
    let made = super::build(&args.dir, &BuildOptions::default(), &say)?;
    if made.is_empty() {
        complain(&format!(
            "{} has no crate and no .wat file, so nothing is built: `portcullis new NAME` creates a crate",
            args.dir.display()
        ));
    }
    for built in made {
        let note = if built.fresh { " (unchanged)" } else { "" };
        say(&format!("{}{note}", built.module.display()));
    }
    Ok(())
}
