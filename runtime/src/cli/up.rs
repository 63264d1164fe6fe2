//! `portcullis up`: builds and serves a directory, and does both again on every change.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use tracing::{error, info};

use super::sources::Sources;
use super::starting::ExitOnPanic;
use super::starting::start_log;
use super::{curl, progress, reload_on_change, say, serve, socket};
use crate::daemon::{self, Daemon, Exit, Hardened, Options};
use crate::engine::Engine;
use crate::http::client;
use crate::jobs::api::{Command as _, StatusCommand};
use crate::jobs::{ConfigSource, Launch, Overlay};
use crate::observe::access_file::AccessLogFormat;

/// Build the handlers of a directory, serve its portcullis.toml, and swap in changes.
///
/// If a change does not build, or the daemon refuses it, that is reported, and the old version stays. Verbs
/// that are run in this directory find this daemon. After `portcullis upgrade` it is another process in the
/// background: `portcullis shutdown` ends it.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The directory of the handlers.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    flags: serve::Flags,
}

/// The longest path of a socket, unix(7). If the path is longer, `up` has no admin socket.
const LONGEST_SOCKET: usize = 107;

pub(super) fn up(args: Args) -> Result<ExitCode> {
    let Args { dir, flags } = args;
    let file = dir.join("portcullis.toml");
    ensure!(file.is_file(), "{} does not exist: `portcullis new NAME` creates one", file.display());
    let _log = start_log(flags.debug)?;
    let sources = first_build(Sources::new(dir.canonicalize()?))?;
    let socket = std::path::absolute(dir.join(socket::BESIDE))?;
    let beside = socket.clone();
    let beside_it = dir.clone();
    let overlay: Overlay = Arc::new(move |config| {
        config.develop(&beside_it)?;
        flags.put_over(config)?;
        // A developer wants to see requests and to query the daemon.
        config.logging.access_log.get_or_insert(AccessLogFormat::Text);
        config.debug = true;
        config.profiler = true;
        // `rebuild` watches everything except the files of secrets.
        config.watch = false;
        if config.admin.is_none() && socket.as_os_str().len() <= LONGEST_SOCKET {
            config.admin = Some(socket.clone());
        }
        Ok(())
    });
    let over = overlay.clone();
    let read = file.clone();
    let source: ConfigSource = Arc::new(move |occasion| serve::read(&read, occasion, |config| over(config)));
    let (read_again, source_again) = (file.clone(), source.clone());
    let launch = Launch::of_this_process()?;
    let options = Options {
        source,
        file,
        overlay,
        progress: progress::bar(),
        launch,
        begun: None,
        hardened: Hardened::default(),
    };
    let starting = ExitOnPanic::new();
    serve::run_to_end(async {
        let daemon = match Daemon::start(options).await {
            Ok(Some(daemon)) => daemon,
            Ok(None) => return Ok(Exit::Drained),
            Err(failure) => match process_at(&beside).await {
                Some(process) => bail!(
                    "process {process} serves this directory already, and swaps in changes: to end it, run `portcullis shutdown` there"
                ),
                None => return Err(failure),
            },
        };
        drop(starting);
        for line in curl::lines(&daemon.engine.live().pin(), &daemon.listening()) {
            say(&line);
        }
        let (engine, state) = (daemon.engine.clone(), daemon.state());
        let rereading = tokio::spawn(reload_on_change::keep(read_again, source_again, engine.clone(), state));
        let rebuilding = tokio::spawn(rebuild(sources, engine));
        let outcome = daemon.run().await;
        rebuilding.abort();
        rereading.abort();
        outcome
    })
}

/// Asks an admin socket for the id of the process that serves it. `None` if no process does.
async fn process_at(socket: &Path) -> Option<u32> {
    let mut answer = client::run(socket, StatusCommand.encode()).await.ok()?;
    let mut told = Vec::new();
    while let Some(piece) = answer.next().await.ok()? {
        told.extend_from_slice(&piece);
    }
    // Only this field: a daemon of another release may reply with other fields.
    #[derive(serde::Deserialize)]
    struct ProcessId {
        pid: u32,
    }
    serde_json::from_slice::<ProcessId>(&told).ok().map(|process| process.pid)
}

/// Builds until the first build succeeds: after an error, waits for a source to change.
fn first_build(mut sources: Sources) -> Result<Sources> {
    while let Err(failure) = sources.build() {
        error!("not built, so not served yet: {failure:#}");
        serve::runtime()?.block_on(sources.changed());
        info!("a source has changed: building");
    }
    Ok(sources)
}

/// Builds and reloads whenever a source changes, until dropped.
async fn rebuild(mut sources: Sources, engine: Arc<Engine>) {
    loop {
        sources.changed().await;
        info!("a source has changed: building");
        let building = tokio::task::spawn_blocking(move || {
            let built = sources.build();
            (sources, built)
        });
        let built;
        (sources, built) = match building.await {
            Ok(done) => done,
            Err(failure) => return error!("changes are no longer watched: {failure}"),
        };
        match built {
            Ok(()) => drop(daemon::reload(&engine).await),
            Err(failure) => error!("not built, the old generation goes on: {failure:#}"),
        }
    }
}
