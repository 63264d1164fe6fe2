//! Reloads when a watched file changes: the configuration and what it names with `watch = true`, secrets always.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use notify::RecursiveMode;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use tokio::sync::watch::Receiver;
use tokio::time::sleep;
use tracing::warn;

use super::file_watcher::{FileWatcher, ways};
use crate::config::{self, Config};
use crate::daemon;
use crate::engine::Engine;
use crate::jobs::{ConfigReading, ConfigSource, DaemonState};
use crate::net::TlsOptions;

/// How much too early the time of a change may be: Linux uses the time of the last clock tick, which is up to 10 ms old
/// (CONFIG_HZ=100).
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// How often the files are compared with their last state. A watch does not report that the directory of a file, or one
/// above it, was moved away, nor what another host changes on a network file system.
const FILES_CHECK: Duration = Duration::from_secs(2);

/// Which files cause a reload, beside those of secrets.
pub(super) enum FollowedFiles {
    /// The configuration and what it names, if it has `watch = true`.
    AsConfigured,
    /// What the configuration names, except itself and modules in the directory `built`: `up` follows their sources.
    BesideSources {
        built: PathBuf,
        /// When the last reload began that `up` asked for and that was refused: its configuration may name other files.
        refused: Receiver<SystemTime>,
    },
}

impl FollowedFiles {
    /// Waits for a refused reload of `up`.
    async fn refused(&mut self) {
        if let FollowedFiles::BesideSources { refused, .. } = self
            && refused.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// Returns the time of the last refused reload of `up`.
    fn last_refused(&mut self) -> SystemTime {
        match self {
            FollowedFiles::AsConfigured => SystemTime::UNIX_EPOCH,
            FollowedFiles::BesideSources { refused, .. } => *refused.borrow_and_update(),
        }
    }

    /// Returns the directory of modules that are not followed.
    fn built(&self) -> Option<PathBuf> {
        match self {
            FollowedFiles::AsConfigured => None,
            FollowedFiles::BesideSources { built, .. } => Some(built.clone()),
        }
    }
}

/// Reloads whenever one of the `followed` files changes on disk. Reloads changed secrets in any case. Runs until dropped.
/// A half-written file fails the reload, and is read again when it is complete.
pub(super) async fn keep(
    file: PathBuf,
    source: ConfigSource,
    engine: Arc<Engine>,
    state: Arc<DaemonState>,
    mut followed: FollowedFiles,
) {
    let mut adopted = state.adopted();
    let mut watching: Option<FileWatcher> = None;
    // The files as they were before the last reload that we asked for, which may have been refused.
    let mut before = HashMap::new();
    let mut asked = SystemTime::UNIX_EPOCH;
    loop {
        // Each reload may change the set of watched files.
        let read = (*adopted.borrow_and_update()).max(asked).max(followed.last_refused());
        let served = state.config.load_full();
        let (named, wanted, source, built) = (file.clone(), served.clone(), source.clone(), followed.built());
        let follows = served.watch || built.is_some();
        let Some(StartedWatch { files, kept, next, looks }) =
            off_thread(move || begin(&named, &wanted, &source, built.as_deref())).await.flatten()
        else {
            (watching, before) = (None, HashMap::new());
            let is_over = tokio::select! {
                another = adopted.changed() => another.is_err(),
                () = followed.refused() => false,
            };
            if is_over {
                return;
            }
            continue;
        };
        let seen = watching.take().is_some_and(|mut last| last.has_changed());
        // A change between the previous watch and this one may not have been reported.
        let newer = files.iter().any(|file| match before.get(file) {
            Some(before) => *before != looks[file],
            // If a secret was read and has disappeared, it was removed before the watch began.
            None => {
                looks[file].as_ref().map_or(kept.contains(file), |look| look.changed >= read - CLOCK_TICK)
            }
        });
        let missed = seen || newer;
        if !missed {
            // The files as they were loaded: a later difference is a change.
            for (file, look) in looks {
                before.entry(file).or_insert(look);
            }
        }
        let watching = watching.insert(next);
        if !missed {
            tokio::select! {
                () = watching.changed() => {}
                () = differ(&files, &before) => {}
                another = adopted.changed() => match another {
                    // Another reload may have changed the set of watched files.
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = followed.refused() => continue,
            }
        }
        let looked = files.clone();
        let Some(now) = off_thread(move || look(&looked)).await else { continue };
        let is_changed = |file: &&PathBuf| before.get(*file).is_none_or(|before| *before != now[*file]);
        // A changed secret is reloaded alone: that undoes no swap, ends no trial, and works even if the other files are
        // invalid.
        let is_other = !files.iter().filter(is_changed).all(|file| kept.contains(file));
        let is_secret = files.iter().filter(is_changed).any(|file| kept.contains(file));
        (before, asked) = (now, SystemTime::now());
        let is_reloaded = follows && (is_other || !is_secret) && daemon::reload(&engine).await;
        if is_secret && !is_reloaded {
            daemon::refresh(&engine).await;
        }
    }
}

/// Waits until a file differs from its last state.
///
/// # Cancel safety
/// Dropping the future loses nothing.
async fn differ(files: &Arc<HashSet<PathBuf>>, before: &HashMap<PathBuf, Option<FileStamp>>) {
    loop {
        sleep(FILES_CHECK).await;
        let looked = files.clone();
        let Some(now) = off_thread(move || look(&looked)).await else { return std::future::pending().await };
        if now.iter().any(|(file, stamp)| before.get(file) != Some(stamp)) {
            return;
        }
    }
}

/// A watch that has begun, with the state of the files at that time.
struct StartedWatch {
    files: Arc<HashSet<PathBuf>>,
    /// The files that are secrets.
    kept: HashSet<PathBuf>,
    next: FileWatcher,
    looks: HashMap<PathBuf, Option<FileStamp>>,
}

/// Watches the files that the served configuration asks for, then records their state. `None` if there are none, or if
/// they cannot be watched.
fn begin(file: &Path, served: &Config, source: &ConfigSource, built: Option<&Path>) -> Option<StartedWatch> {
    // Secrets are always watched, because their rotation sends no signal.
    let kept: HashSet<PathBuf> = secrets(served).collect();
    let follows = served.watch || built.is_some();
    let written = if follows { source(ConfigReading::Reload).ok() } else { None };
    let configs = [Some(served), written.as_ref()].into_iter().flatten();
    let files = match (built, follows) {
        (Some(built), _) => files(file, configs, |path| !path.starts_with(built)),
        (None, true) => files(file, configs, |_| true).into_iter().chain(ways(file)).collect(),
        (None, false) => kept.clone(),
    };
    if files.is_empty() {
        return None;
    }
    match watch(files.clone()) {
        Ok(next) => Some(StartedWatch { looks: look(&files), files: Arc::new(files), kept, next }),
        Err(failure) => {
            warn!("changes are not watched until the next reload: {failure:#}");
            None
        }
    }
}

/// Runs file operations on a thread of their own: a network file system may not answer.
///
/// Returns `None` if the operation panics, which is logged.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(seen) => Some(seen),
        Err(failure) => {
            warn!("changes are not watched any more: {failure}");
            None
        }
    }
}

fn look(files: &HashSet<PathBuf>) -> HashMap<PathBuf, Option<FileStamp>> {
    files.iter().map(|file| (file.clone(), FileStamp::at(file))).collect()
}

/// Lists the files of secrets.
fn secrets(config: &Config) -> impl Iterator<Item = PathBuf> {
    let credentials = config::credentials();
    let secrets = config.handlers.iter().flat_map(|handler| &handler.secrets).map(|secret| &secret.source);
    let secrets = secrets.chain(config.passwords().map(|(_, password)| password));
    secrets.filter_map(move |source| source.file(credentials.as_deref())).flat_map(|file| ways(&file))
}

/// Lists the files of secrets, and those `wanted` of the other paths that the configurations name, or that the one in
/// `file` names whatever is wrong with it. A path that is mended makes a refused configuration valid.
fn files<'c>(
    file: &Path,
    configs: impl Iterator<Item = &'c Config> + Clone,
    wanted: impl Fn(&Path) -> bool,
) -> HashSet<PathBuf> {
    // Flags name certificates, too.
    let of = |config: &Config| -> Vec<PathBuf> {
        let modules = config.handlers.iter().map(|handler| handler.module.as_path());
        let certificates = config.tls.iter().flat_map(TlsOptions::files);
        modules.chain(certificates).map(Path::to_owned).collect()
    };
    let named = configs.clone().flat_map(of).chain(config::named_paths(file));
    let named = named.filter(|path| wanted(path)).flat_map(|path| ways(&path));
    named.chain(configs.flat_map(secrets)).collect()
}

/// What a configuration names while no daemon serves it yet.
pub(super) struct NamedFiles {
    files: Arc<HashSet<PathBuf>>,
    looks: HashMap<PathBuf, Option<FileStamp>>,
    /// `None` if they cannot be watched.
    watching: Option<FileWatcher>,
}

impl NamedFiles {
    /// Watches what the configuration in `file` names, and the files of flags and secrets if it is `valid`. Any later
    /// change is reported. Blocks.
    pub(super) fn of(file: &Path, valid: Option<&Config>) -> NamedFiles {
        let files = files(file, valid.into_iter(), |_| true);
        // Without a watch, the files are compared again and again.
        let watching = watch(files.clone()).ok();
        NamedFiles { looks: look(&files), files: Arc::new(files), watching }
    }

    /// Waits until one of the files has changed.
    pub(super) async fn changed(&mut self) {
        let NamedFiles { files, looks, watching } = self;
        let reported = async {
            match watching {
                Some(watching) => watching.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = reported => {}
            () = differ(files, looks) => {}
        }
    }
}

/// Watches files.
fn watch(files: HashSet<PathBuf>) -> Result<FileWatcher> {
    let (mut dirs, mut missing) = (HashSet::new(), HashSet::new());
    for dir in files.iter().filter_map(|file| file.parent()) {
        // A missing directory may be created later; its nearest existing parent reports that.
        let mut above = dir.ancestors();
        while let Some(dir) = above.next().filter(|dir| !dirs.contains(*dir)) {
            if dir.is_dir() {
                dirs.insert(dir.to_owned());
                break;
            }
            missing.insert(dir.to_owned());
        }
    }
    // Writes to a file that is mounted by itself, as in containers, are reported to the directory that it lies in
    // elsewhere, and to a watch on the file itself.
    let mounted = files.iter().filter(|file| is_mounted(file)).cloned();
    let watched = dirs.into_iter().chain(mounted).map(|path| (path, RecursiveMode::NonRecursive));
    let watched: Vec<_> = watched.collect();
    FileWatcher::over(watched, move |path| files.contains(path) || missing.contains(path))
}

/// Returns `true` if a file is on another mount than its directory. Also `true` if the kernel cannot tell (before Linux
/// 5.8).
fn is_mounted(file: &Path) -> bool {
    let mount = |path: &Path| {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    match (mount(file), file.parent().and_then(mount)) {
        (Some(file), Some(dir)) => file != dir,
        (None, _) | (_, None) => file.is_file(),
    }
}

/// Identifies the content of a path: a replaced or rewritten file has another stamp.
#[derive(PartialEq, Eq)]
struct FileStamp {
    /// The time of the last change of the inode. The modification time is not enough: a file keeps it when it is moved.
    /// For a directory, the time at which it was made: what happens in it is no change of the configuration.
    changed: SystemTime,
    device: u64,
    inode: u64,
    length: u64,
}

impl FileStamp {
    /// Reads the stamp of a file, or of a link itself. `None` if it does not exist.
    fn at(file: &Path) -> Option<FileStamp> {
        let found = file.symlink_metadata().ok()?;
        if found.is_dir() {
            let changed = found.created().unwrap_or(SystemTime::UNIX_EPOCH);
            return Some(FileStamp { changed, device: found.dev(), inode: found.ino(), length: 0 });
        }
        let seconds = Duration::from_secs(u64::try_from(found.ctime()).ok()?);
        let rest = Duration::from_nanos(u64::try_from(found.ctime_nsec()).ok()?);
        let changed = SystemTime::UNIX_EPOCH.checked_add(seconds)?.checked_add(rest)?;
        Some(FileStamp { changed, device: found.dev(), inode: found.ino(), length: found.len() })
    }
}
