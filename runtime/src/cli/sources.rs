//! The sources of the handlers that `up` serves: builds them, and watches them for changes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use notify::RecursiveMode;
use tokio::time::sleep;
use tracing::warn;

use super::build::{self, Depth, FileContent, WatchedPath};
use super::file_watcher::FileWatcher;
use super::say;

/// How often to check for changes if files cannot be watched, as when the kernel's limit of watches is reached.
const SOURCE_CHECK: Duration = Duration::from_secs(2);

/// The directory of `up`, with all files that its handlers are built from.
pub(super) struct Sources {
    root: PathBuf,
    /// The crates that its own crates depend on by path.
    needed: Vec<PathBuf>,
    /// Other files that the last successful build has read, as cargo reports them: `include_str!`, templates.
    inputs: HashSet<PathBuf>,
    /// The sources at the start of the last build.
    built_of: BTreeMap<PathBuf, FileContent>,
    /// The modules that the last successful build made.
    made: BTreeSet<PathBuf>,
    /// The modules in the directory of builds after the last build.
    modules: BTreeSet<PathBuf>,
    /// `None` while files cannot be watched.
    watching: Option<FileWatcher>,
    /// Whether that was logged.
    is_told: bool,
}

/// Why a build is due.
pub(super) enum BuildCause {
    /// A source is not as it was at the last build.
    Source,
    /// This module of the last build has been removed.
    Removed(PathBuf),
    /// This module has been put beside those of the last build.
    Added(PathBuf),
}

impl fmt::Display for BuildCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildCause::Source => f.write_str("a source has changed"),
            BuildCause::Removed(module) => write!(f, "{} has been removed", module.display()),
            BuildCause::Added(module) => write!(f, "{} has been added", module.display()),
        }
    }
}

impl Sources {
    /// Makes the state for a directory. Builds nothing yet.
    pub(super) fn new(root: PathBuf) -> Sources {
        let (needed, inputs, built_of) = Default::default();
        let (made, modules) = Default::default();
        Sources { root, needed, inputs, built_of, made, modules, watching: None, is_told: false }
    }

    /// Builds what is out of date. Changes from now on are not missed. Blocks.
    ///
    /// # Errors
    /// As [`build::build`].
    pub(super) fn build(&mut self) -> Result<()> {
        let begun = SystemTime::now();
        self.needed = build::path_dependencies(&self.root);
        self.built_of = self.watched();
        let built = build::build(&self.root, &build::BuildOptions::default(), &say);
        if let Ok(built) = &built {
            for built in built.iter().filter(|built| !built.fresh) {
                say(&format!("built {}", built.module.display()));
            }
            self.inputs = built.iter().flat_map(|built| built.inputs.iter().cloned()).collect();
            let made: BTreeSet<PathBuf> = built.iter().map(|built| built.module.clone()).collect();
            for left in self.made.difference(&made).filter(|module| module.exists()) {
                warn!(
                    "{}: its source is gone, so it stays as it is: remove it, and any handler that names it",
                    left.display()
                );
            }
            self.made = made;
        }
        // Files that cargo reported only now, or wrote itself, count as built, unless they were changed during the
        // build.
        let now = self.watched();
        // Files that are no longer sources may change freely.
        self.built_of.retain(|path, _| now.contains_key(path) || !path.exists());
        let ours = now.iter().filter(|(path, _)| build::is_lock(path) || !self.built_of.contains_key(*path));
        let ours = ours.filter(|(path, _)| build::is_lock(path) || !is_younger(path, begun));
        let ours: Vec<_> = ours.map(|(path, content)| (path.clone(), *content)).collect();
        self.built_of.extend(ours);
        self.modules = self.present();
        if built.is_ok() {
            // A module that was removed during the build is missing at the next comparison.
            self.modules.extend(self.made.iter().cloned());
        }
        built.map(drop)
    }

    /// Waits until the sources, or the names of the modules, differ from those of the last build.
    pub(super) async fn changed(&mut self) -> BuildCause {
        loop {
            if let Some(cause) = tokio::task::block_in_place(|| self.cause()) {
                return cause;
            }
            match &mut self.watching {
                Some(watching) => watching.changed().await,
                None => sleep(SOURCE_CHECK).await,
            }
        }
    }

    /// Watches the current sources and modules, then compares them with those of the last build.
    fn cause(&mut self) -> Option<BuildCause> {
        if self.watched() != self.built_of {
            return Some(BuildCause::Source);
        }
        if let Some(removed) = self.modules.iter().find(|module| !module.exists()) {
            return Some(BuildCause::Removed(removed.clone()));
        }
        self.present().difference(&self.modules).next().cloned().map(BuildCause::Added)
    }

    /// Lists the modules in the directory of builds, without links that lead nowhere.
    fn present(&self) -> BTreeSet<PathBuf> {
        let entries = fs::read_dir(self.root.join(build::OUTPUT)).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(|path| is_module(path) && path.exists()).collect()
    }

    /// Watches the current sources, new handlers included, and the modules, then reads the sources. Any later change is
    /// reported.
    fn watched(&mut self) -> BTreeMap<PathBuf, FileContent> {
        let places = build::watched(&self.root, &self.needed, &self.inputs);
        let relevant = build::SourceFilter::of(&self.root, &self.needed, &self.inputs);
        let dirs = places.iter().map(|WatchedPath { path, depth }| {
            let mode = match depth {
                Depth::Recursive => RecursiveMode::Recursive,
                Depth::Flat => RecursiveMode::NonRecursive,
            };
            (path.clone(), mode)
        });
        // The directory itself may be removed. The watch on its parent reports that, and that it is made again.
        let output = self.root.join(build::OUTPUT);
        let dirs = dirs.chain(output.is_dir().then(|| (output.clone(), RecursiveMode::NonRecursive)));
        let known = relevant.clone();
        let is_output =
            move |path: &Path| path == output || (is_module(path) && path.parent() == Some(output.as_path()));
        self.watching = match FileWatcher::over(dirs, move |path| known.is_source(path) || is_output(path)) {
            Ok(watching) => Some(watching),
            Err(failure) => {
                if !std::mem::replace(&mut self.is_told, true) {
                    warn!(
                        "files are checked for changes every {SOURCE_CHECK:?}, because they cannot be watched: {failure:#}"
                    );
                }
                None
            }
        };
        build::contents(&places, &relevant)
    }
}

fn is_module(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "wasm")
}

/// Returns `true` if a file was written since then.
fn is_younger(path: &Path, since: SystemTime) -> bool {
    path.metadata().and_then(|found| found.modified()).is_ok_and(|written| written >= since)
}
