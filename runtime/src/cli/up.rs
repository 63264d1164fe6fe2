//! `portcullis up`: builds and serves a directory, and does both again on every change.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Error, Result, bail, ensure};
use tokio::sync::watch;
use tracing::{error, info};

use super::build::OUTPUT;
use super::curl::PrintedRoutes;
use super::reload_on_change::{self, FollowedFiles, NamedFiles};
use super::sources::{BuildCause, Sources};
use super::starting::ExitOnPanic;
use super::starting::start_log;
use super::{progress, say, serve, socket};
use crate::config::Config;
use crate::daemon::{self, Daemon, Exit, Hardened, Options};
use crate::engine::Engine;
use crate::http::client;
use crate::jobs::api::{Command as _, ServingProcess, StatusCommand};
use crate::jobs::{ConfigReading, ConfigSource, DaemonState, Launch, Overlay, lines, unreadable_secrets};
use crate::net::Tls;
use crate::observe::access_file::AccessLogFormat;

/// Build the handlers of a directory, serve its portcullis.toml, and swap in changes.
///
/// If a change does not build, or the daemon refuses it, that is reported, and the old version stays. If that
/// happens at the start, `up` waits for the next change. It also reloads when a file changes that
/// portcullis.toml names, such as an error page, and builds a removed module again. Verbs that are run in
/// this directory find this daemon. After `portcullis upgrade` it is another process in the background:
/// `portcullis shutdown` ends it.
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
    let root = dir.canonicalize()?;
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
        // `rebuild` and `FollowedFiles::BesideSources` follow all files.
        config.watch = false;
        if config.admin.is_none() && socket.as_os_str().len() <= LONGEST_SOCKET {
            config.admin = Some(socket.clone());
        }
        Ok(())
    });
    let over = overlay.clone();
    let read = file.clone();
    let source: ConfigSource = Arc::new(move |occasion| serve::read(&read, occasion, |config| over(config)));
    let sources = first_build(Sources::new(root), &file, &source)?;
    let (read_again, source_again) = (file.clone(), source.clone());
    let built = std::path::absolute(dir.join(OUTPUT))?;
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
        let (engine, state) = (daemon.engine.clone(), daemon.state());
        let printing = tokio::spawn(print_routes(engine.clone(), state.clone()));
        let (refused, refusals) = watch::channel(SystemTime::UNIX_EPOCH);
        let followed = FollowedFiles::BesideSources { built, refused: refusals };
        let rereading =
            tokio::spawn(reload_on_change::keep(read_again, source_again, engine.clone(), state, followed));
        let rebuilding = tokio::spawn(rebuild(sources, engine, refused));
        let outcome = daemon.run().await;
        rebuilding.abort();
        rereading.abort();
        printing.abort();
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
    // Only this part: a daemon of another release may reply with other fields.
    serde_json::from_slice::<ServingProcess>(&told).ok().map(|process| process.pid)
}

/// Builds and reads the configuration until both succeed: after an error, waits for a source to change, or a file that
/// the configuration names.
fn first_build(mut sources: Sources, file: &Path, source: &ConfigSource) -> Result<Sources> {
    loop {
        let mut named = None;
        match sources.build() {
            Err(failure) => error!("not built, so not served yet: {failure:#}"),
            Ok(()) => {
                let Err(RefusedStart { valid, .. }) = check(source) else { return Ok(sources) };
                named = Some(NamedFiles::of(file, valid.as_deref()));
                // Checked again: a file may have changed before the watch began.
                let Err(RefusedStart { failure, .. }) = check(source) else { return Ok(sources) };
                error!("the configuration is refused, so not served yet:\n{failure:#}");
            }
        }
        let cause = serve::runtime()?.block_on(async {
            let mended = async {
                match &mut named {
                    Some(named) => named.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                cause = sources.changed() => cause,
                () = mended => BuildCause::Source,
            }
        });
        info!("{cause}: building");
    }
}

/// Why a start would be refused.
struct RefusedStart {
    /// All mistakes in the configuration, or else those in the certificates and secrets.
    failure: Error,
    /// The configuration, if it has no mistake itself.
    valid: Option<Box<Config>>,
}

/// Reads the configuration, its certificates and its secrets as a start would.
///
/// # Errors
/// [`RefusedStart`].
fn check(source: &ConfigSource) -> Result<(), RefusedStart> {
    let config = match source(ConfigReading::Start) {
        Ok(config) => Box::new(config),
        Err(failure) => return Err(RefusedStart { failure, valid: None }),
    };
    let mut errors = unreadable_secrets(&config);
    errors.extend(config.tls.as_ref().and_then(|tls| Tls::load(tls).err()).unwrap_or_default());
    if errors.is_empty() {
        Ok(())
    } else {
        Err(RefusedStart { failure: lines(&errors), valid: Some(config) })
    }
}

/// Prints the curl commands of the routes, and those of new routes after each reload, until dropped.
async fn print_routes(engine: Arc<Engine>, state: Arc<DaemonState>) {
    let (mut adopted, mut printed) = (state.adopted(), PrintedRoutes::default());
    loop {
        for line in printed.unprinted(&engine.live().pin(), &daemon::listening(&state)) {
            say(&line);
        }
        if adopted.changed().await.is_err() {
            return;
        }
    }
}

/// Builds and reloads whenever a source changes, or a module is removed or added, until dropped. Tells `refused` when a
/// reload began that was refused.
async fn rebuild(mut sources: Sources, engine: Arc<Engine>, refused: watch::Sender<SystemTime>) {
    loop {
        let cause = sources.changed().await;
        info!("{cause}: building");
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
            Ok(()) => {
                let begun = SystemTime::now();
                if !daemon::reload(&engine).await {
                    refused.send_replace(begun);
                }
            }
            Err(failure) => error!("not built, the old generation goes on: {failure:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_configuration_without_mistakes_is_read_once_at_the_start() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().canonicalize().unwrap();
        let file = dir.join("portcullis.toml");
        fs::write(dir.join("one.wat"), "(module)").unwrap();
        fs::write(
            &file,
            "[handler.one]\nmodule = \"build/one.wasm\"\n[[route]]\npath = \"/\"\nhandler = \"one\"\n",
        )
        .unwrap();
        let reads = Arc::new(AtomicUsize::new(0));
        let (counted, read) = (reads.clone(), file.clone());
        let source: ConfigSource = Arc::new(move |occasion| {
            counted.fetch_add(1, Ordering::Relaxed);
            serve::read(&read, occasion, |_| Ok(()))
        });

        let _sources = first_build(Sources::new(dir), &file, &source).unwrap();

        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }
}
