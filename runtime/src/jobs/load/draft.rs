//! What a load makes before it is published.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::catalog::{Catalog, Routes};
use crate::config::{HandlerConfig, Probe};
use crate::job::{HandlerVersion, Name};
use crate::wasm::compile::CompileLimits;
use crate::wasm::{Code, Digest, Mounted};

/// What a configuration comes to before it is published.
pub struct Draft {
    /// Its handlers: those of the catalog before, where nothing about them is different.
    pub handlers: BTreeMap<Name, Arc<HandlerVersion>>,
    /// Its routes to them.
    pub routes: Routes,
    pub(super) made: HashMap<Name, MadeHandler>,
}

/// A handler, with the module and the mounts it was made of.
#[derive(Clone)]
pub(super) struct MadeHandler {
    pub(super) entry: Arc<HandlerVersion>,
    pub(super) mounted: Arc<Mounted>,
    pub(super) digest: Digest,
}

/// A catalog that may be published, and what the loader is to know of it then. Dropping it changes nothing.
pub struct Candidate {
    /// The catalog.
    pub catalog: Arc<Catalog>,
    pub(super) loaded: Loaded,
}

/// A module that was compiled, apart from the settings of a handler.
#[derive(Clone)]
pub struct Uploaded {
    pub(super) digest: Digest,
    pub(super) code: Code,
}

/// What the catalog was made of that was loaded last.
#[derive(Default)]
pub(super) struct Loaded {
    /// Its code, by the digest of the module.
    pub(super) code: HashMap<Digest, Code>,
    /// What compiling a module may take.
    pub(super) limits: CompileLimits,
    /// The most bytes that the cache keeps.
    pub(super) cache_size: u64,
    /// Its handlers as they were configured.
    pub(super) handlers: HashMap<Name, HandlerConfig>,
    /// What was made of them.
    pub(super) made: HashMap<Name, MadeHandler>,
}

impl Loaded {
    pub(super) fn configured(&self, name: &Name) -> Option<&HandlerConfig> {
        self.handlers.get(name)
    }
}

impl Candidate {
    /// Returns the probe of a handler, if it has one.
    pub fn probe(&self, name: &Name) -> Option<Probe> {
        self.loaded.configured(name)?.probe.clone()
    }
}
