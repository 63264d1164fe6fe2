//! The results of a load before they are published: drafts, candidates and compiled modules.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::catalog::{Catalog, Routes};
use crate::config::{HandlerConfig, Probe};
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
    /// The mounts that a handler has displaced.
    pub displaced: Vec<DisplacedMount>,
}

/// A mount whose path leads elsewhere, because a handler may write there. Its directory stays in use.
pub struct DisplacedMount {
    /// The handler that has the mount.
    pub handler: Name,
    /// The path that led to it.
    pub host: PathBuf,
    /// Where the path leads now.
    pub why: String,
}

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
    /// The mounts that a handler has displaced.
    pub displaced: Vec<DisplacedMount>,
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
    /// The paths of mounts that a handler has displaced.
    pub(super) displaced: HashSet<PathBuf>,
}

impl Loaded {
    pub(super) fn configured(&self, name: &Name) -> Option<&HandlerConfig> {
        self.handlers.get(name)
    }
}

impl DisplacedMount {
    /// Lists those of a handler.
    pub(super) fn of(handler: &Name, mounted: &Mounted) -> Vec<DisplacedMount> {
        let displaced = mounted.displaced().iter().cloned();
        displaced.map(|(host, why)| DisplacedMount { handler: handler.clone(), host, why }).collect()
    }
}

/// `handler "files": the mount /srv/data/public keeps the directory ...`.
impl fmt::Display for DisplacedMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (handler, host) = (self.handler.as_str(), self.host.display());
        write!(
            f,
            "handler {handler:?}: the mount {host} keeps the directory that was loaded, because a handler that may write \
             there has moved it: {}",
            self.why
        )
    }
}

impl Candidate {
    /// Returns the probe of a handler, if it has one.
    pub fn probe(&self, name: &Name) -> Option<Probe> {
        self.loaded.configured(name)?.probe.clone()
    }
}
