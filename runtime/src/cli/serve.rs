//! `portcullis serve`: the daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::ArgAction;

use super::{progress, start_log};
use crate::config::{self, Config};
use crate::daemon::{Daemon, Exit, Options};
use crate::net::Endpoint;

/// Serves what a configuration says, until it is told to end.
///
/// SIGTERM and SIGINT drain: requests under way are finished within the grace period; a second one
/// ends at once. SIGHUP reads the configuration and the modules anew, and listens where it says; on
/// any error everything stays as it was.
#[derive(clap::Args)]
#[command(after_help = STATUSES)]
pub(super) struct Args {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "portcullis.toml")]
    config: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

/// What the exit status of a daemon means.
const STATUSES: &str = "\
Exit status:
  0    drained: everything that had begun was finished; also a signal before the daemon was ready
  1    the daemon could not start or go on
  2    wrong usage
  3    the grace period was over before everything was finished: jobs were stopped
  130  ended at once by a second signal, the last one being SIGINT
  143  ended at once by a second signal, the last one being SIGTERM";

/// Flags that go before the configuration.
#[derive(clap::Args, Clone)]
pub(super) struct Flags {
    /// Listen here instead of where the configuration says: tcp://ADDR:PORT, unix://PATH, fd://NAME. May be repeated.
    #[arg(short = 'H', long = "host", value_name = "PROTO://ADDR", action = ArgAction::Append)]
    hosts: Vec<Endpoint>,
    /// The group of unix:// sockets, by name or number.
    #[arg(short = 'G', long, value_name = "GROUP")]
    group: Option<String>,
    /// Log every job and every connection.
    #[arg(short = 'D', long)]
    pub(super) debug: bool,
}

impl Flags {
    /// Reads a configuration and puts the flags over it.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub(super) fn config(&self, file: &Path) -> Result<Config> {
        let mut config = config::load(file)?;
        if !self.hosts.is_empty() {
            config.listen.clone_from(&self.hosts);
        }
        if self.group.is_some() {
            config.unix.group.clone_from(&self.group);
        }
        config.check_whole().map_err(|error| anyhow::anyhow!("{}:{error}", file.display()))?;
        Ok(config)
    }
}

pub(super) fn serve(args: Args) -> Result<ExitCode> {
    let _log = start_log(args.flags.debug)?;
    let source = move || args.flags.config(&args.config);
    let options = Options { source: Arc::new(source), progress: progress::bar() };
    run_to_end(async {
        match Daemon::start(options).await? {
            Some(daemon) => daemon.run().await,
            None => Ok(Exit::Drained),
        }
    })
}

/// Runs a daemon and leaves with what it says, also when a module is still being compiled: that
/// cannot be interrupted, and nobody waits for it any more.
pub(super) fn run_to_end(daemon: impl Future<Output = Result<Exit>>) -> Result<ExitCode> {
    /// Long enough for whatever only has to be dropped.
    const LEAVING: Duration = Duration::from_millis(500);
    let runtime = runtime()?;
    let outcome = runtime.block_on(daemon);
    runtime.shutdown_timeout(LEAVING);
    outcome.map(|exit| exit.status().into())
}

/// Makes the runtime that everything asynchronous runs on: a worker a core.
///
/// # Errors
/// The host gives us no threads.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("worker").build()?)
}
