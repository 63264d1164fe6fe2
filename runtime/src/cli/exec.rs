//! `portcullis exec`: becomes another program, which finds its own number where systemd would have written it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::confine;
use crate::net::Activation;

/// Becomes another program. The job `upgrade` starts the next process of the daemon with it: who passes
/// sockets must write the number of the process that gets them, which is known only inside of it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The program.
    program: PathBuf,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(super) fn exec(args: Args) -> Result<()> {
    let ours = std::process::id().to_string();
    let mut command = Command::new(&args.program);
    command.args(args.args).env(Activation::VARIABLES[0], &ours);
    if std::env::var_os("WATCHDOG_PID").is_some() {
        command.env("WATCHDOG_PID", &ours);
    }
    // What it becomes has not read its configuration yet, so that there is nothing to read anew. Not
    // held: another version may not know that it has to let them through.
    confine::ignore_changes();
    confine::let_through();
    Err(command.exec()).with_context(|| args.program.display().to_string())
}
