//! `portcullis serve`: the daemon.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use clap::ArgAction;
use notify::RecursiveMode;
use tracing::warn;

use super::tls::TlsFlags;
use super::watching::{Watching, ways};
use super::{progress, start_log};
use crate::config::{self, Config};
use crate::daemon::{self, Daemon, Exit, Options};
use crate::engine::Engine;
use crate::jobs::{Launch, Source};
use crate::net::{Endpoint, TlsOptions};

/// Serves what a configuration says, until it is told to end.
///
/// SIGTERM and SIGINT drain: requests under way are finished within the grace period; a second one
/// ends at once. SIGHUP reads the configuration and the modules anew, and listens where it says; on
/// any error everything stays as it was. SIGUSR2 starts the program that is on disk now and hands
/// every socket to it; if it does not get ready, this one goes on.
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
    #[command(flatten)]
    tls: TlsFlags,
    /// Log every job and every connection, and serve the profiler on the admin socket.
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
        self.put_over(&mut config)?;
        config.check_whole().map_err(|error| anyhow::anyhow!("{}:{error}", file.display()))?;
        Ok(config)
    }

    /// Puts the flags over a configuration.
    ///
    /// # Errors
    /// The two do not go together.
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

pub(super) fn serve(args: Args) -> Result<ExitCode> {
    let debug = args.flags.debug;
    let Args { config, flags } = args;
    let over = flags.clone();
    let file = config.clone();
    let source: Source = Arc::new(move || flags.config(&config));
    let started = SystemTime::now();
    let launch = Launch::of_this_process()?;
    let Some(begun) = daemon::begin(&source)? else { return Ok(ExitCode::SUCCESS) };
    // Before there is another thread, that of the log included.
    let hardened = daemon::harden(&begun.config, &file, &launch.program);
    let _log = start_log(debug)?;
    let options = Options {
        source: source.clone(),
        overlay: Arc::new(move |config| over.put_over(config)),
        progress: progress::bar(),
        launch,
        begun: Some(begun),
        hardened,
    };
    run_to_end(async {
        match Daemon::start(options).await? {
            Some(daemon) => {
                let watching = tokio::spawn(watch(file, source, daemon.engine.clone(), started));
                let outcome = daemon.run().await;
                watching.abort();
                outcome
            }
            None => Ok(Exit::Drained),
        }
    })
}

/// Reloads whenever the configuration or a module has changed on disk, if the configuration wants
/// it; until it is dropped. What is half written is refused by the reload, and read again when the
/// rest is there. What has changed since the daemon `started` counts: it may have been read before.
async fn watch(file: PathBuf, source: Source, engine: Arc<Engine>, started: SystemTime) {
    let mut watching: Option<Watching> = None;
    loop {
        // Anew after every reload: what is watched is in the configuration too. One that cannot be
        // read leaves the watch as it was.
        let missed = match source() {
            Ok(config) if !config.watch => return,
            Ok(config) => {
                let files = files(&file, &config);
                match over(files.clone()) {
                    Ok(next) => match watching.replace(next) {
                        Some(mut last) => last.has_changed(),
                        None => files.iter().any(|file| has_changed_since(file, started)),
                    },
                    Err(failure) => return warn!("changes are not watched: {failure:#}"),
                }
            }
            Err(_) => false,
        };
        match &mut watching {
            Some(_) if missed => {}
            Some(watching) => watching.changed().await,
            None => return,
        }
        daemon::reload(&engine).await;
    }
}

/// Lists a configuration, and the modules and certificates it names.
fn files(file: &Path, config: &Config) -> HashSet<PathBuf> {
    let modules = config.handlers.iter().map(|handler| handler.module.as_path());
    let certificates = config.tls.iter().flat_map(TlsOptions::files);
    modules.chain(certificates).chain([file]).flat_map(ways).collect()
}

/// Watches files.
fn over(files: HashSet<PathBuf>) -> Result<Watching> {
    let dirs = files.iter().filter_map(|file| file.parent()).filter(|dir| dir.is_dir());
    let dirs: HashSet<PathBuf> = dirs.map(Path::to_owned).collect();
    let dirs = dirs.into_iter().map(|dir| (dir, RecursiveMode::NonRecursive));
    Watching::over(dirs, move |path| files.contains(path))
}

/// Says whether a file was written, or put into its place, since then.
fn has_changed_since(file: &Path, then: SystemTime) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let then = then.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    // Not the time of the last write, which a file keeps that is moved here.
    file.symlink_metadata().is_ok_and(|found| u64::try_from(found.ctime()).is_ok_and(|time| time >= then))
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
