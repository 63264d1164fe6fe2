//! `portcullis exec`: replaces this process by a program that finds its own process id in the environment.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::confine;
use crate::net::Activation;

/// Becomes another program. The job `upgrade` starts the next process of the daemon with it. sd_listen_fds(3) wants the
/// process id of the receiver in LISTEN_PID, and the parent does not know it before the start.
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
    // The next program has read no configuration yet, so there is nothing to reload. The signals are ignored and not
    // blocked: another release might not unblock them.
    confine::ignore_changes();
    confine::let_through();
    Err(command.exec()).with_context(|| args.program.display().to_string())
}
