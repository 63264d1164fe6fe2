//! `portcullis serve`: runs the daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::ArgAction;
use tracing::debug;

use super::progress;
use super::reload_on_change::{self, FollowedFiles};
use super::starting::ExitOnPanic;
use super::starting::start_log;
use super::tls::TlsFlags;
use crate::config::{self, Config};
use crate::confine;
use crate::daemon::{self, Daemon, Exit, Options};
use crate::jobs::{ConfigReading, ConfigSource, Launch};
use crate::net::Endpoint;

/// Serve a configuration until a signal or `shutdown`.
///
/// SIGTERM and SIGINT drain: requests in progress are finished within the grace period. A second signal
/// ends the daemon at once. SIGHUP reloads the configuration, with its addresses, and the modules; on any
/// error nothing changes. SIGUSR2 starts the program that is on disk now and hands every socket to it. If
/// the new process does not become ready, the old one stays.
#[derive(clap::Args)]
#[command(after_help = STATUSES)]
pub(super) struct Args {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "portcullis.toml")]
    config: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

/// The meaning of a daemon's exit status.
const STATUSES: &str = "\
Exit status:
  0    drained: all requests were finished; also a signal before the daemon was ready
  1    the daemon could not start or continue
  2    wrong usage
  3    the grace period ended before all requests were finished: jobs were stopped
  130  ended at once by a second signal, the last one being SIGINT
  143  ended at once by a second signal, the last one being SIGTERM";

/// Flags that override the configuration.
#[derive(clap::Args, Clone)]
pub(super) struct Flags {
    /// Listen here instead of on the configured addresses: tcp://ADDR:PORT, unix://PATH, fd://NAME. May be repeated.
    #[arg(short = 'H', long = "host", value_name = "PROTO://ADDR", action = ArgAction::Append)]
    hosts: Vec<Endpoint>,
    /// Set the group of unix:// sockets, by name or number.
    #[arg(short = 'G', long, value_name = "GROUP")]
    group: Option<String>,
    #[command(flatten)]
    tls: TlsFlags,
    /// Log every job and every connection, and serve the profiler on the admin socket.
    #[arg(short = 'D', long)]
    pub(super) debug: bool,
}

impl Flags {
    /// Reads a configuration and applies the flags.
    ///
    /// # Errors
    /// All mistakes in the configuration.
    pub(super) fn config(&self, file: &Path, occasion: ConfigReading) -> Result<Config> {
        read(file, occasion, |config| self.put_over(config))
    }

    /// Applies the flags to a configuration.
    ///
    /// # Errors
    /// The flags and the configuration contradict each other.
    pub(super) fn put_over(&self, config: &mut Config) -> Result<()> {
        if !self.hosts.is_empty() {
            config.listen.clone_from(&self.hosts);
        }
        if self.group.is_some() {
            config.unix.group.clone_from(&self.group);
        }
        config.profiler |= self.debug;
        self.tls.put_over(config)
    }
}

/// Reads a configuration for a daemon, and applies flags.
///
/// # Errors
/// All mistakes in the configuration, or the flags contradict it.
pub(super) fn read(
    file: &Path,
    occasion: ConfigReading,
    over: impl FnOnce(&mut Config) -> Result<()>,
) -> Result<Config> {
    let mut config = match occasion {
        ConfigReading::Start => config::load(file)?,
        ConfigReading::Reload => config::load_again(file)?,
    };
    over(&mut config)?;
    match occasion {
        ConfigReading::Start => config.check_whole(file)?,
        ConfigReading::Reload => config.check_again(file)?,
    }
    Ok(config)
}

pub(super) fn serve(args: Args) -> Result<ExitCode> {
    let debug = args.flags.debug;
    let Args { config, flags } = args;
    let over = flags.clone();
    let file = config.clone();
    let source: ConfigSource = Arc::new(move |occasion| flags.config(&config, occasion));
    let launch = Launch::of_this_process()?;
    let starting = ExitOnPanic::new();
    let Some(begun) = daemon::begin(&source)? else { return Ok(ExitCode::SUCCESS) };
    // Before any other thread exists, even that of the log.
    let hardened = daemon::harden(&begun.config, &file, &launch.program);
    let _log = start_log(debug)?;
    let options = Options {
        source: source.clone(),
        file: file.clone(),
        overlay: Arc::new(move |config| over.put_over(config)),
        progress: progress::bar(),
        launch,
        begun: Some(begun),
        hardened,
    };
    run_to_end(async {
        match Daemon::start(options).await? {
            Some(daemon) => {
                drop(starting);
                let (engine, state) = (daemon.engine.clone(), daemon.state());
                let followed = FollowedFiles::AsConfigured;
                let rereading = tokio::spawn(reload_on_change::keep(file, source, engine, state, followed));
                let outcome = daemon.run().await;
                rereading.abort();
                outcome
            }
            None => Ok(Exit::Drained),
        }
    })
}

/// Runs a daemon and returns its outcome, even while a module is being compiled: that cannot be interrupted, and is not
/// waited for.
pub(super) fn run_to_end(daemon: impl Future<Output = Result<Exit>>) -> Result<ExitCode> {
    /// Long enough for tasks that only have to be dropped.
    const LEAVING: Duration = Duration::from_millis(500);
    let runtime = runtime()?;
    let outcome = runtime.block_on(daemon);
    runtime.shutdown_timeout(LEAVING);
    outcome.map(|exit| exit.status().into())
}

/// Makes the runtime for all asynchronous work, with one worker thread per core.
///
/// # Errors
/// The host refuses to start threads.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    let _starting = ExitOnPanic::new();
    let start = || {
        // Without it, requests wait longer beside jobs that compute.
        if let Err(refusal) = confine::serve_first() {
            debug!("workers have the usual time slice: {refusal}");
        }
    };
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("worker")
        .on_thread_start(start)
        .build()?)
}
