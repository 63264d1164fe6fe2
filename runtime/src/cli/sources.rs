//! The sources of the handlers that `up` serves: builds them, and watches them for changes.

use std::collections::{BTreeMap, HashSet};
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
const LOOK: Duration = Duration::from_secs(2);

/// The directory of `up`, with all files that its handlers are built from.
pub(super) struct Sources {
    root: PathBuf,
    /// The crates that its own crates depend on by path.
    needed: Vec<PathBuf>,
    /// Other files that the last successful build has read, as cargo reports them: `include_str!`, templates.
    inputs: HashSet<PathBuf>,
    /// The sources at the start of the last build.
    built_of: BTreeMap<PathBuf, FileContent>,
    /// `None` while files cannot be watched.
    watching: Option<FileWatcher>,
    /// Whether that was logged.
    is_told: bool,
}

impl Sources {
    /// Makes the state for a directory. Builds nothing yet.
    pub(super) fn new(root: PathBuf) -> Sources {
        let (needed, inputs, built_of) = Default::default();
        Sources { root, needed, inputs, built_of, watching: None, is_told: false }
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
        built.map(drop)
    }

    /// Waits until the sources differ from those of the last build.
    pub(super) async fn changed(&mut self) {
        loop {
            let now = tokio::task::block_in_place(|| self.watched());
            if now != self.built_of {
                return;
            }
            match &mut self.watching {
                Some(watching) => watching.changed().await,
                None => sleep(LOOK).await,
            }
        }
    }

    /// Watches the current sources, new handlers included, then reads them. Any later change is reported.
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
        let known = relevant.clone();
        self.watching = match FileWatcher::over(dirs, move |path| known.is_source(path)) {
            Ok(watching) => Some(watching),
            Err(failure) => {
                if !std::mem::replace(&mut self.is_told, true) {
                    warn!(
                        "files are checked for changes every {LOOK:?}, because they cannot be watched: {failure:#}"
                    );
                }
                None
            }
        };
        build::contents(&places, &relevant)
    }
}

/// Returns `true` if a file was written since then.
fn is_younger(path: &Path, since: SystemTime) -> bool {
    path.metadata().and_then(|found| found.modified()).is_ok_and(|written| written >= since)
}
