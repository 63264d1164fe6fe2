//! The results of a load before they are published: drafts, candidates and compiled modules.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use crate::catalog::{Catalog, Routes};
use crate::config::{HandlerConfig, Probe};
use crate::confine::{GrantedDir, Untrusted};
use crate::files::FileRoot;
use crate::job::{HandlerVersion, Name};
use crate::wasm::compile::CompileLimits;
use crate::wasm::{Code, Digest, Mounted};

/// The handlers and routes that a configuration describes.
pub struct Draft {
    /// The handlers. A handler that has not changed is the one of the catalog before.
    pub handlers: BTreeMap<Name, Arc<HandlerVersion>>,
    /// The routes to them.
    pub routes: Routes,
    pub(super) made: HashMap<Name, MadeHandler>,
    pub(super) served: ServedDirs,
    /// The mounts, and the directories that routes serve, that a handler has displaced.
    pub displaced: Vec<DisplacedDir>,
}

/// A mount, or a directory that routes serve, whose path leads elsewhere, because a handler may write there. The
/// directory stays in use.
pub struct DisplacedDir {
    /// The handler that has the mount. `None` if routes serve the directory.
    pub handler: Option<Name>,
    /// The path that led to it.
    pub host: PathBuf,
    /// Where the path leads now.
    pub why: String,
}

/// The directories that routes serve, by their paths in the configuration. Routes with the same path share one.
#[derive(Default)]
pub(super) struct ServedDirs(pub(super) BTreeMap<PathBuf, GrantedDir>);

/// A handler version with its mounts and the digest of its module.
#[derive(Clone)]
pub(super) struct MadeHandler {
    pub(super) entry: Arc<HandlerVersion>,
    pub(super) mounted: Arc<Mounted>,
    pub(super) digest: Digest,
}

/// A catalog that may be published, with the state of the loader that belongs to it. Dropping it changes nothing.
pub struct Candidate {
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// The mounts, and the directories that routes serve, that a handler has displaced.
    pub displaced: Vec<DisplacedDir>,
    pub(super) loaded: Loaded,
}

/// A compiled module, without the settings of a handler.
#[derive(Clone)]
pub struct Uploaded {
    pub(super) digest: Digest,
    pub(super) code: Code,
}

/// The state of the loader that belongs to the catalog loaded last.
#[derive(Default)]
pub(super) struct Loaded {
    /// The code by the digest of the module.
    pub(super) code: HashMap<Digest, Code>,
    /// The limits on compiling a module.
    pub(super) limits: CompileLimits,
    /// The maximum size of the cache, in bytes.
    pub(super) cache_size: u64,
    /// The handlers as they were configured.
    pub(super) handlers: HashMap<Name, HandlerConfig>,
    /// The handlers as they were made.
    pub(super) made: HashMap<Name, MadeHandler>,
    pub(super) served: ServedDirs,
    /// The paths of the mounts, and of the directories that routes serve, that a handler has displaced.
    pub(super) displaced: HashSet<PathBuf>,
}

impl Loaded {
    pub(super) fn configured(&self, name: &Name) -> Option<&HandlerConfig> {
        self.handlers.get(name)
    }

    /// Grants the mounts of these handlers and the directories that routes serve again, even if a handler has displaced
    /// them.
    pub(super) fn hold(&self, untrusted: &mut Untrusted) {
        for (mount, dir) in self.made.values().flat_map(|made| made.mounted.all()) {
            untrusted.hold(&mount.host, dir.clone(), self.displaced.contains(&mount.host));
        }
        for (path, granted) in &self.served.0 {
            untrusted.hold(path, granted.dir.clone(), granted.displaced.is_some());
        }
    }
}

impl ServedDirs {
    /// Opens a directory for a route.
    ///
    /// # Errors
    /// It must not be granted, or cannot be served.
    pub(super) fn open(&mut self, path: &Path, untrusted: &Untrusted) -> Result<FileRoot> {
        let granted = match self.0.entry(path.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(untrusted.grant(path)?),
        };
        FileRoot::new(granted.dir.clone(), path)
    }

    /// Lists those that a handler has displaced.
    pub(super) fn displaced(&self) -> impl Iterator<Item = DisplacedDir> {
        let displaced = self.0.iter().filter_map(|(path, granted)| Some((path, granted.displaced.clone()?)));
        displaced.map(|(path, why)| DisplacedDir { handler: None, host: path.clone(), why })
    }
}

impl DisplacedDir {
    /// Lists the mounts of a handler.
    pub(super) fn of(handler: &Name, mounted: &Mounted) -> Vec<DisplacedDir> {
        let displaced = mounted.displaced().iter().cloned();
        displaced.map(|(host, why)| DisplacedDir { handler: Some(handler.clone()), host, why }).collect()
    }
}

/// `handler "files": the mount /srv/data/public keeps the directory ...`.
impl fmt::Display for DisplacedDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, why) = (self.host.display(), &self.why);
        match &self.handler {
            Some(handler) => write!(f, "handler {:?}: the mount {host}", handler.as_str())?,
            None => write!(f, "route.static.dir: {host}")?,
        }
        write!(
            f,
            " keeps the directory that was loaded, because a handler that may write there has moved it: {why}"
        )
    }
}

impl Candidate {
    /// Returns the probe of a handler, if it has one.
    pub fn probe(&self, name: &Name) -> Option<Probe> {
        self.loaded.configured(name)?.probe.clone()
    }
}
