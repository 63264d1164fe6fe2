//! The sources of what `up` serves: built, and watched for changes of what they are built of.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use notify::RecursiveMode;
use tokio::time::sleep;
use tracing::warn;

use super::build::{self, Depth, FileContent, WatchedPath};
use super::say;
use super::watching::Watching;

/// How often changes are looked for where they cannot be watched, as where the kernel has no watch left.
const LOOK: Duration = Duration::from_secs(2);

/// The directory that `up` was given, and all that its handlers are built of.
pub(super) struct Sources {
    root: PathBuf,
    /// The crates that its own depend on by path.
    needed: Vec<PathBuf>,
    /// What the last build that succeeded has read elsewhere, as cargo tells it: `include_str!`, templates.
    inputs: HashSet<PathBuf>,
    /// What there was when the last build began.
    built_of: BTreeMap<PathBuf, FileContent>,
    /// `None` where nothing can be watched for now.
    watching: Option<Watching>,
    /// Whether that was told.
    is_told: bool,
}

impl Sources {
    /// Looks at a directory. Builds nothing yet.
    pub(super) fn new(root: PathBuf) -> Sources {
        let (needed, inputs, built_of) = Default::default();
        Sources { root, needed, inputs, built_of, watching: None, is_told: false }
    }

    /// Builds what is out of date. What changes from now on is not missed. Blocks.
    ///
    /// # Errors
    /// Those of [`build::build`].
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
        // What cargo has told only now, or has written itself, counts as read unless a person has changed it meanwhile.
        let now = self.watched();
        // What is read no more may change as it likes.
        self.built_of.retain(|path, _| now.contains_key(path) || !path.exists());
        let ours = now.iter().filter(|(path, _)| build::is_lock(path) || !self.built_of.contains_key(*path));
        let ours = ours.filter(|(path, _)| build::is_lock(path) || !is_younger(path, begun));
        let ours: Vec<_> = ours.map(|(path, content)| (path.clone(), *content)).collect();
        self.built_of.extend(ours);
        built.map(drop)
    }

    /// Waits until something is different from what was built last.
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

    /// Watches what there is now, handlers that came meanwhile among it, and then looks at it: what is not seen changes later.
    fn watched(&mut self) -> BTreeMap<PathBuf, FileContent> {
        let places = build::watched(&self.root, &self.needed, &self.inputs);
        let relevant = build::Relevant::of(&self.root, &self.needed, &self.inputs);
        let dirs = places.iter().map(|WatchedPath { path, depth }| {
            let mode = match depth {
                Depth::Recursive => RecursiveMode::Recursive,
                Depth::Flat => RecursiveMode::NonRecursive,
            };
            (path.clone(), mode)
        });
        let known = relevant.clone();
        self.watching = match Watching::over(dirs, move |path| known.is_source(path)) {
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

/// Reports whether a file was written since.
fn is_younger(path: &Path, since: SystemTime) -> bool {
    path.metadata().and_then(|found| found.modified()).is_ok_and(|written| written >= since)
}
