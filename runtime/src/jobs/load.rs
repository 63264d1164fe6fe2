//! From a configuration to a catalog: modules read, compiled, linked and put under their names.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Error, Result, anyhow};
use sha2::{Digest as _, Sha256};

use super::credential;
use crate::catalog::Catalog;
use crate::config::{self, Config, HandlerConfig, Probe};
use crate::job::{Entry, Name, Record, Slots};
use crate::wasm::{Access, Code, Module, Mount, Sandbox};

/// The names that no handler may have, sorted: those of the built-in jobs.
pub const BUILTIN: [&str; 9] = [
    "acceptconnections",
    "canary",
    "commands",
    "reload",
    "rollback",
    "serveapi",
    "shutdown",
    "swap",
    "version",
];

/// Loads catalogs, one after the other; what has not changed is not compiled again.
pub struct Loader {
    sandbox: Sandbox,
    progress: Progress,
    last: Mutex<Loaded>,
}

/// What the catalog was made of that was loaded last.
#[derive(Default)]
struct Loaded {
    /// Its code, by the digest of the module.
    code: HashMap<Digest, Code>,
    /// Its handlers as they were configured.
    handlers: Vec<HandlerConfig>,
}

/// Is told of every module that is ready, from whatever thread loads it.
pub type Progress = Box<dyn Fn(Compiled<'_>) + Send + Sync>;

/// One module of several is ready.
pub struct Compiled<'a> {
    /// Whose module it is.
    pub name: &'a Name,
    /// How many are ready.
    pub done: usize,
    /// How many there are.
    pub total: usize,
}

/// The SHA-256 of a module's bytes: what a module is, whatever its file is called.
type Digest = [u8; 32];

impl Loader {
    /// Makes a loader that has compiled nothing yet.
    pub fn new(sandbox: Sandbox, progress: Progress) -> Loader {
        Loader { sandbox, progress, last: Mutex::default() }
    }

    /// Makes the catalog that follows `base`. Blocks for as long as compiling takes.
    ///
    /// # Errors
    /// Everything that is wrong, one error each: a module that cannot be a handler, a handler with
    /// the name of a built-in job.
    pub fn catalog(&self, config: Config, base: &Catalog) -> Result<Catalog, Vec<Error>> {
        let mut used = HashMap::new();
        let mut handlers = BTreeMap::new();
        let mut errors = Vec::new();
        let total = config.handlers.len();
        for (done, handler) in (1..).zip(&config.handlers) {
            let name = &handler.name;
            let entry = if BUILTIN.contains(&name.as_str()) {
                Err(anyhow!("this is the name of a built-in job: choose another"))
            } else {
                self.load(handler, &mut used)
            };
            match entry {
                Ok(entry) => drop(handlers.insert(name.clone(), entry)),
                Err(error) => errors.push(error.context(format!("handler {:?}", name.as_str()))),
            }
            (self.progress)(Compiled { name, done, total });
        }
        let routes = match config.routes(&handlers) {
            Ok(routes) if errors.is_empty() => routes,
            // A route to a handler that failed is no mistake of its own.
            Ok(_) => return Err(errors),
            Err(_) if !errors.is_empty() => return Err(errors),
            Err(conflicts) => return Err(conflicts.into_iter().map(Error::from).collect()),
        };
        // Code that no handler uses any more goes with the catalog that used it.
        *self.last() = Loaded { code: used, handlers: config.handlers };
        let next = base.next(handlers, routes);
        Ok(Catalog { cors: config.cors, version_header: config.version_header, ..next })
    }

    /// Makes one handler. Blocks for as long as compiling takes.
    ///
    /// # Errors
    /// The module cannot be read, or be a handler.
    pub fn entry(&self, config: &HandlerConfig) -> Result<Arc<Entry>> {
        self.load(config, &mut HashMap::new())
    }

    /// Makes another version of a handler that is configured: its settings, this module. Blocks for
    /// as long as compiling takes.
    ///
    /// # Errors
    /// There is no such handler, or the module cannot be one.
    pub fn version(&self, name: &Name, bytes: &[u8]) -> Result<Arc<Entry>> {
        let config = self.configured(name);
        let config = config.with_context(|| format!("there is no handler {:?}", name.as_str()))?;
        let digest = Digest::from(Sha256::digest(bytes));
        let known = self.last().code.get(&digest).cloned();
        let code = known.map_or_else(|| self.sandbox.compile(bytes), Ok).context("the uploaded module")?;
        entry(&config, digest, code)
    }

    /// Returns the probe of a handler, if it has one.
    pub fn probe(&self, name: &Name) -> Option<Probe> {
        self.configured(name)?.probe
    }

    fn configured(&self, name: &Name) -> Option<HandlerConfig> {
        self.last().handlers.iter().find(|handler| handler.name == *name).cloned()
    }

    fn load(&self, config: &HandlerConfig, used: &mut HashMap<Digest, Code>) -> Result<Arc<Entry>> {
        let bytes =
            std::fs::read(&config.module).with_context(|| format!("read {}", show(&config.module)))?;
        let digest = Digest::from(Sha256::digest(&bytes));
        let known = || self.last().code.get(&digest).cloned();
        let code = match used.get(&digest).cloned().or_else(known) {
            Some(code) => code,
            None => self.sandbox.compile(&bytes).with_context(|| show(&config.module))?,
        };
        used.insert(digest, code.clone());
        entry(config, digest, code)
    }

    fn last(&self) -> MutexGuard<'_, Loaded> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts code under a handler's settings.
///
/// # Errors
/// A secret that cannot be had.
fn entry(config: &HandlerConfig, digest: Digest, code: Code) -> Result<Arc<Entry>> {
    let mut env = config.env.clone();
    credential::add(&mut env, &config.secrets)?;
    let module = Module { code, mounts: config.mounts.iter().map(mount).collect() };
    Ok(Arc::new(Entry {
        name: config.name.clone(),
        kind: module.kind(),
        handler: Arc::new(module),
        version: digest[..6].iter().map(|byte| format!("{byte:02x}")).collect(),
        args: config.args.clone(),
        env,
        limits: config.limits.clone(),
        mapping: config.mapping.clone(),
        slots: Slots::new(&config.limits),
        record: Record::default(),
    }))
}

fn mount(config: &config::Mount) -> Mount {
    let access = if config.write { Access::Write } else { Access::Read };
    Mount { host: config.host.clone(), guest: config.guest.clone(), access }
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
