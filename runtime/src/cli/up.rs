//! `portcullis up`: build, serve, and do both again on every change.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use notify::RecursiveMode;
use tracing::{error, info, warn};

use super::build::{self, Depth};
use super::starting::Starting;
use super::watching::Watching;
use super::{curl, progress, say, serve, socket, start_log};
use crate::config;
use crate::daemon::{self, Daemon, Exit, Hardened, Options};
use crate::engine::Engine;
use crate::http::client;
use crate::jobs::{Launch, Overlay};

/// Builds the handlers of a directory, serves its portcullis.toml, and swaps in what changes.
///
/// A change that does not build, or that the daemon refuses, is reported, and what was served before
/// goes on being served. The verbs that ask a daemon find this one when they are run in its directory;
/// after `portcullis upgrade` it is another process, in the background: `portcullis shutdown` ends it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The directory of the handlers.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    flags: serve::Flags,
}

/// unix(7): a longer path cannot be connected to. `up` does without a socket there.
const LONGEST_SOCKET: usize = 107;

pub(super) fn up(args: Args) -> Result<ExitCode> {
    let Args { dir, flags } = args;
    let file = dir.join("portcullis.toml");
    ensure!(file.is_file(), "{} is not there: `portcullis new NAME` makes one", file.display());
    let _log = start_log(flags.debug)?;
    // Before the first build: what changes while it runs is not missed.
    let root = dir.canonicalize()?;
    let watching = watch(&root);
    build_all(&dir)?;
    let socket = std::path::absolute(dir.join(socket::BESIDE))?;
    let beside = socket.clone();
    let beside_it = dir.clone();
    let overlay: Overlay = Arc::new(move |config| {
        config.develop(&beside_it)?;
        flags.put_over(config)?;
        // Whoever develops wants to see what was asked, and to ask.
        config.access_log = true;
        config.debug = true;
        config.profiler = true;
        if config.admin.is_none() && socket.as_os_str().len() <= LONGEST_SOCKET {
            config.admin = Some(socket.clone());
        }
        Ok(())
    });
    let over = overlay.clone();
    let read = file.clone();
    let source = move || {
        let mut config = config::load(&read)?;
        over(&mut config)?;
        config.check_whole(&read)?;
        Ok(config)
    };
    let launch = Launch::of_this_process()?;
    let options = Options {
        source: Arc::new(source),
        file,
        overlay,
        progress: progress::bar(),
        launch,
        begun: None,
        hardened: Hardened::default(),
    };
    let starting = Starting::new();
    serve::run_to_end(async {
        let daemon = match Daemon::start(options).await {
            Ok(Some(daemon)) => daemon,
            Ok(None) => return Ok(Exit::Drained),
            Err(failure) => match process_at(&beside).await {
                Some(process) => bail!(
                    "process {process} serves this directory already, and takes up what changes: to end it, run `portcullis shutdown` there"
                ),
                None => return Err(failure),
            },
        };
        drop(starting);
        for line in curl::lines(&daemon.engine.live().pin(), &daemon.listening()) {
            say(&line);
        }
        let rebuilding = tokio::spawn(rebuild(root, watching, daemon.engine.clone()));
        let outcome = daemon.run().await;
        rebuilding.abort();
        outcome
    })
}

/// Asks whoever serves at an admin socket for the number of its process; none: nobody does.
async fn process_at(socket: &Path) -> Option<u64> {
    let mut answer = client::run(socket, socket::call("status", [])).await.ok()?;
    let mut told = Vec::new();
    while let Some(piece) = answer.next().await.ok()? {
        told.extend_from_slice(&piece);
    }
    serde_json::from_slice::<serde_json::Value>(&told).ok()?["pid"].as_u64()
}

fn build_all(dir: &Path) -> Result<()> {
    for built in build::build(dir, &build::Options::default(), &say)? {
        if !built.fresh {
            say(&format!("built {}", built.module.display()));
        }
    }
    Ok(())
}

/// Watches the sources of a directory.
fn watch(root: &Path) -> Result<Watching> {
    let dirs = build::watched(root)?.into_iter().map(|watched| {
        let mode = match watched.depth {
            Depth::Recursive => RecursiveMode::Recursive,
            Depth::Flat => RecursiveMode::NonRecursive,
        };
        (watched.path, mode)
    });
    let sources = root.to_owned();
    Watching::over(dirs, move |path| build::is_source(&sources, path))
}

/// Builds and reloads whenever a source has changed, until it is dropped.
async fn rebuild(root: PathBuf, watching: Result<Watching>, engine: Arc<Engine>) {
    let mut watching = match watching {
        Ok(watching) => watching,
        Err(failure) => return warn!("changes are not watched: {failure:#}"),
    };
    loop {
        watching.changed().await;
        info!("a source has changed: building");
        let dir = root.clone();
        match tokio::task::spawn_blocking(move || build_all(&dir)).await {
            Ok(Ok(())) => daemon::reload(&engine).await,
            Ok(Err(failure)) => error!("not built, the old generation goes on: {failure:#}"),
            Err(failure) => error!("not built, the old generation goes on: {failure}"),
        }
    }
}
