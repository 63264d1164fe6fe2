//! `portcullis new`: what it prints.

use anyhow::Result;

use super::new;
use crate::cli::say;

/// Writes a new handler into a directory of its name, and a route to it into ./portcullis.toml.
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The handler's name, which is its crate's as well.
    name: String,
}

pub(in crate::cli) fn run(args: Args) -> Result<()> {
    let created = new(&std::env::current_dir()?, &args.name)?;
    say(&format!("wrote {}", created.dir.join("src/main.rs").display()));
    let verb = if created.config_is_new { "wrote" } else { "added a route to" };
    say(&format!("{verb} {}", created.config.display()));
    if created.sdk_is_new {
        say(&format!("wrote {}, the guest SDK", created.sdk.display()));
    }
    say("next: portcullis up");
    Ok(())
}
