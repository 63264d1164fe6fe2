//! `portcullis up`: build, serve, and do both again on every change.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::build::{self, Depth};
use super::{curl, progress, say, serve, socket, start_log};
use crate::config;
use crate::daemon::{self, Daemon, Exit, Options};
use crate::engine::Engine;
use crate::jobs::Overlay;

/// Builds the handlers of a directory, serves its portcullis.toml, and swaps in what changes.
///
/// A change that does not build, or that the daemon refuses, is reported, and what was served before
/// goes on being served.
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

/// How long a directory must be quiet before it is built: an editor saves in several steps.
const QUIET: Duration = Duration::from_millis(100);

pub(super) fn up(args: Args) -> Result<ExitCode> {
    let Args { dir, flags } = args;
    let file = dir.join("portcullis.toml");
    ensure!(file.is_file(), "{} is not there: `portcullis new NAME` makes one", file.display());
    let _log = start_log(flags.debug)?;
    // Before the first build: what changes while it runs is not missed.
    let changes = Changes::watch(&dir);
    build_all(&dir)?;
    let socket = std::path::absolute(dir.join(socket::BESIDE))?;
    let overlay: Overlay = Arc::new(move |config| {
        flags.put_over(config);
        // Whoever develops wants to see what was asked, and to ask.
        config.access_log = true;
        if config.admin.is_none() && socket.as_os_str().len() <= LONGEST_SOCKET {
            config.admin = Some(socket.clone());
        }
    });
    let over = overlay.clone();
    let source = move || {
        let mut config = config::load(&file)?;
        over(&mut config);
        Ok(config)
    };
    let options = Options { source: Arc::new(source), overlay, progress: progress::bar() };
    serve::run_to_end(async {
        let Some(daemon) = Daemon::start(options).await? else { return Ok(Exit::Drained) };
        for line in curl::lines(&daemon.engine.live().pin(), &daemon.listening()) {
            say(&line);
        }
        let rebuilding = tokio::spawn(rebuild(changes, daemon.engine.clone()));
        let outcome = daemon.run().await;
        rebuilding.abort();
        outcome
    })
}

fn build_all(dir: &Path) -> Result<()> {
    for built in build::build(dir, &build::Options::default(), &say)? {
        if !built.fresh {
            say(&format!("built {}", built.module.display()));
        }
    }
    Ok(())
}

/// Changes of the sources of a directory.
struct Changes {
    root: PathBuf,
    /// One is enough: what matters is that something changed, not how often.
    seen: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Changes {
    fn watch(dir: &Path) -> Result<Changes> {
        let (changed, seen) = mpsc::channel(1);
        let root = dir.canonicalize()?;
        let sources = root.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let relevant = match &event {
                Ok(event) if event.kind.is_access() => false,
                Ok(event) => event.paths.iter().any(|path| build::is_source(&sources, path)),
                // The kernel's queue overflowed: anything may have changed.
                Err(_) => true,
            };
            if relevant {
                // Full: it is known already.
                let _known = changed.try_send(());
            }
        })?;
        for watched in build::watched(&root)? {
            let mode = match watched.depth {
                Depth::Recursive => RecursiveMode::Recursive,
                Depth::Flat => RecursiveMode::NonRecursive,
            };
            watcher.watch(&watched.path, mode).with_context(|| watched.path.display().to_string())?;
        }
        Ok(Changes { root, seen, _watcher: watcher })
    }
}

/// Builds and reloads whenever a source has changed, until it is dropped.
async fn rebuild(changes: Result<Changes>, engine: Arc<Engine>) {
    let outcome = match changes {
        Ok(changes) => try_rebuild(changes, &engine).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = outcome {
        warn!("changes are not watched: {failure:#}");
    }
}

async fn try_rebuild(mut changes: Changes, engine: &Arc<Engine>) -> Result<()> {
    while changes.seen.recv().await.is_some() {
        while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.seen.recv()).await {}
        info!("a source has changed: building");
        let root = changes.root.clone();
        match tokio::task::spawn_blocking(move || build_all(&root)).await? {
            Ok(()) => daemon::reload(engine).await,
            Err(failure) => error!("not built, the old generation goes on: {failure:#}"),
        }
    }
    Ok(())
}
