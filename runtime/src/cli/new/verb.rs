//! `portcullis new`: scaffolds a handler and prints what was written.

use anyhow::Result;

use super::{NewTemplate, new};
use crate::cli::say;

/// Create a new handler in a directory of its name, and add a route to it to ./portcullis.toml.
#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The name of the handler and of its crate.
    name: String,
    /// What the handler does.
    #[arg(long, value_enum, default_value_t = NewTemplate::Hello)]
    template: NewTemplate,
}

pub(in crate::cli) fn run(args: Args) -> Result<()> {
    let created = new(&std::env::current_dir()?, &args.name, args.template)?;
    say(&format!("wrote {}", created.dir.join("src/main.rs").display()));
    let verb = if created.config_is_new { "wrote" } else { "added a route to" };
    say(&format!("{verb} {}", created.config.display()));
    if created.sdk_is_new {
        say(&format!("wrote {}, the guest SDK", created.sdk.display()));
    }
    say("next: portcullis up");
    Ok(())
}
