//! The loader: makes a catalog from a configuration, and compiles only modules that have changed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Error, Result, anyhow, ensure};
use tokio::runtime::Handle;
use tracing::warn;

use super::code::{Codes, read};
use super::databases::open;
use super::draft::{Candidate, DisplacedDir, Draft, Loaded, MadeHandler, ServedDirs};
use super::examined::Examined;
use super::handler::{HandlerResources, HandlerSources, make, mounted, show, suits};
use super::known::VersionsInUse;
use super::parallel::each;
use super::placement::{for_middlewares, for_programs};
use super::prepared::{self, Prepared, has_kept, variables};
use super::progress::{self, OnProgress, Step, StepTurn};
use super::stores::AbsentFile;
use crate::budget::Budget;
use crate::catalog::Catalog;
use crate::config::{AskedLimits, Config, HandlerConfig, Probe, StoreConfig};
use crate::confine::Untrusted;
use crate::database::DatabasePool;
use crate::job::{BUILTIN, HandlerVersion, Kind, Name};
use crate::jobs::credential;
use crate::net::Tls;
use crate::observe::history::History;
use crate::operator_file::ReadFile;
use crate::record::Store;
use crate::scratch::Scratch;
use crate::store::{SharedStore, StorePool};
use crate::wasm::compile::CompileLimits;
use crate::wasm::{Code, Digest, ModuleBytes, NO_PROGRAM, Sandbox};

/// Makes catalogs, one after the other. Modules that have not changed are not compiled again.
pub struct Loader {
    pub(super) sandbox: Sandbox,
    pub(super) progress: OnProgress,
    pub(super) ground: HandlerResources,
    pub(super) last: Mutex<Loaded>,
}

/// Whether to compile the other modules if a handler is refused before its module is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// They are not compiled, since the load fails anyway.
    Left,
    /// They are compiled, so that all errors are reported at once.
    Compiled,
}

impl Loader {
    /// Makes a loader that has compiled nothing yet. Outbound requests of its handlers, stores and databases belong to the
    /// runtime that this is called in.
    pub fn new(sandbox: Sandbox, progress: OnProgress) -> Loader {
        let home = Handle::try_current().ok();
        let ground = HandlerResources {
            store: None,
            scratch: None,
            stores: StorePool::within(home.clone()),
            databases: DatabasePool::within(home.clone()),
            home,
            descriptors: Budget::boundless(),
            known: VersionsInUse::default(),
            history: Arc::default(),
        };
        Loader { sandbox, progress, ground, last: Mutex::default() }
    }

    /// Sets the store for failed jobs, for the handlers that record them.
    pub fn recording(self, store: Option<Arc<Store>>) -> Loader {
        Loader { ground: HandlerResources { store, ..self.ground }, ..self }
    }

    /// Counts the files and connections of jobs against a budget of file descriptors that all jobs share.
    pub fn sharing(self, descriptors: Arc<Budget>) -> Loader {
        Loader { ground: HandlerResources { descriptors, ..self.ground }, ..self }
    }

    /// Keeps the ended jobs of handlers in this history.
    pub fn remembering(self, history: Arc<History>) -> Loader {
        Loader { ground: HandlerResources { history, ..self.ground }, ..self }
    }

    /// Sets the scratch directory, for the handlers whose jobs have a `/tmp` of their own.
    pub fn within(self, scratch: Option<Arc<Scratch>>) -> Loader {
        Loader { ground: HandlerResources { scratch, ..self.ground }, ..self }
    }

    /// Makes the catalog that is to follow `base`. Blocks while modules are compiled.
    ///
    /// # Errors
    /// All errors, one each, such as a module that cannot be a handler, or a handler with the name of a built-in job.
    pub fn catalog(&self, config: Config, base: &Catalog) -> Result<Candidate, Vec<Error>> {
        let (codes, known) = (Codes::new(config.compile), &self.ground.known);
        let _telling = progress::LoadEndGuard(&self.progress, codes.count.load);
        known.prune();
        let opened = open(&self.ground, &config, AbsentFile::Made)?;
        opened.unreachable.iter().for_each(|why| warn!("{why}"));
        let Draft { handlers, routes, made, served, displaced } =
            self.drafted(&config, base, &codes, Others::Left)?;
        // Before the catalog is published: proving a version already runs code of its module.
        made.iter().for_each(|(name, made)| known.add_mounts(name, &made.mounted));
        displaced.iter().for_each(|mount| warn!("{mount}"));
        let hosts = displaced.iter().map(|mount| mount.host.clone()).collect();
        let next = base.next(handlers, routes);
        let Config { cors, response_rules, version_header, reason_header, handlers, .. } = config;
        let (code, limits, cache_size) = (codes.compiled(), config.compile, config.cache_size);
        let errors = response_rules.errors;
        let catalog = Arc::new(Catalog { cors, errors, version_header, reason_header, ..next });
        let handlers = handlers.into_iter().map(|handler| (handler.name.clone(), handler)).collect();
        Ok(Candidate {
            catalog,
            displaced,
            loaded: Loaded { code, limits, cache_size, handlers, made, served, displaced: hosts },
        })
    }

    /// Makes a load the base of the next one. Call it when the catalog is about to be published.
    pub fn adopt(&self, next: Candidate) -> Arc<Catalog> {
        self.sandbox.serve();
        self.sandbox.resize_cache(next.loaded.cache_size);
        for made in next.loaded.made.values() {
            made.entry.grants.stores.iter().for_each(|grant| grant.store.apply());
            made.entry.grants.databases.iter().for_each(|grant| grant.database.apply());
        }
        // Code that no handler uses any more is dropped with the catalog that used it.
        *self.last() = next.loaded;
        next.catalog
    }

    /// Checks what [`catalog`](Loader::catalog) would load, and the certificates, and keeps none of it. Blocks while
    /// modules are compiled.
    pub fn examine(&self, config: &Config, base: &Catalog) -> Examined {
        let codes = Codes::new(config.compile);
        let _telling = progress::LoadEndGuard(&self.progress, codes.count.load);
        let opened = open(&self.ground, config, AbsentFile::Left);
        let unreachable = opened.as_ref().map(|opened| opened.unreachable.clone()).unwrap_or_default();
        Examined {
            tls: config.tls.as_ref().map(Tls::load).transpose(),
            draft: opened.and_then(|_held| self.drafted(config, base, &codes, Others::Compiled)),
            unreachable,
        }
    }

    fn drafted(
        &self,
        config: &Config,
        base: &Catalog,
        codes: &Codes,
        others: Others,
    ) -> Result<Draft, Vec<Error>> {
        let writable = self.ground.known.untrusted(&config.handlers);
        let mut untrusted = writable.map_err(|failure| vec![failure])?;
        self.last().hold(&mut untrusted);
        let mut errors = Vec::new();
        let mut named = |handler: &HandlerConfig, error: Error| {
            errors.push(error.context(format!("handler {:?}", handler.name.as_str())));
        };
        let looked = each(&config.handlers, |handler| self.prepare(handler, &untrusted, &codes.limits));
        let mut sound = Vec::new();
        for (handler, outcome) in config.handlers.iter().zip(looked) {
            match outcome {
                Ok(prepared) => sound.push((handler, prepared)),
                Err(error) => named(handler, error),
            }
        }
        let displaced = sound.iter().flat_map(|(handler, one)| DisplacedDir::of(&handler.name, &one.mounted));
        let mut displaced: Vec<_> = displaced.collect();
        let kinds = sound.iter().map(|(handler, prepared)| (handler.name.clone(), prepared.kind)).collect();
        let misused = for_programs(config, &kinds);
        let is_refused = sound.len() < config.handlers.len() || !misused.is_empty();
        let outcomes = match others {
            Others::Left if is_refused => Vec::new(),
            Others::Left | Others::Compiled => self.all(&sound, codes, base),
        };
        let mut made = HashMap::new();
        for ((handler, _), outcome) in sound.iter().zip(outcomes) {
            match outcome {
                Ok(one) => drop(made.insert(handler.name.clone(), one)),
                Err(error) => named(handler, error),
            }
        }
        errors.extend(misused);
        let handlers: BTreeMap<_, _> =
            made.iter().map(|(name, made)| (name.clone(), made.entry.clone())).collect();
        errors.extend(for_middlewares(config, &handlers));
        let limits = base.routes.limits();
        let mut served = ServedDirs::default();
        let open_dir = |dir: &Path| served.open(dir, &untrusted);
        match config.routes(&handlers, limits, open_dir, |store| self.store(store)) {
            Ok(routes) if errors.is_empty() => {
                displaced.extend(served.displaced());
                Ok(Draft { handlers, routes, made, served, displaced })
            }
            Err(conflicts) if errors.is_empty() => Err(conflicts.into_iter().map(Error::from).collect()),
            // A route to a handler that failed is not an error of its own.
            Ok(_) | Err(_) => Err(errors),
        }
    }

    /// Makes one handler. `untrusted` holds the directories that it and other handlers may write to. Blocks while its
    /// module is compiled.
    ///
    /// # Errors
    /// The module cannot be read, or cannot be a handler.
    pub fn entry(
        &self,
        config: &HandlerConfig,
        untrusted: &Untrusted,
        limits: CompileLimits,
    ) -> Result<Arc<HandlerVersion>> {
        let prepared = self.prepare(config, untrusted, &limits)?;
        self.load(config, prepared, &Codes::new(limits), &Catalog::default()).map(|made| made.entry)
    }

    /// Makes one handler that is to be run as a program; see [`Loader::entry`].
    ///
    /// # Errors
    /// As [`Loader::entry`], and if the module answers HTTP itself; nothing is compiled then.
    pub fn program(
        &self,
        config: &HandlerConfig,
        untrusted: &Untrusted,
        limits: CompileLimits,
    ) -> Result<Arc<HandlerVersion>> {
        let prepared = self.prepare(config, untrusted, &limits)?;
        ensure!(prepared.kind != Kind::Proxy, NO_PROGRAM);
        self.load(config, prepared, &Codes::new(limits), &Catalog::default()).map(|made| made.entry)
    }

    /// Prepares a handler without compiling it. `untrusted` holds the directories that it and other handlers may write
    /// to.
    ///
    /// # Errors
    /// The module cannot be read, cannot be a handler, or does not suit its settings; a secret or a mount is missing.
    fn prepare(
        &self,
        config: &HandlerConfig,
        untrusted: &Untrusted,
        limits: &CompileLimits,
    ) -> Result<Prepared> {
        ensure!(
            !BUILTIN.contains(&config.name.as_str()),
            "this is the name of a built-in job: choose another"
        );
        let ReadFile { bytes, .. } = read(&config.module, limits.module)?;
        let source = ModuleBytes::new(bytes);
        let kind = self.sandbox.look(&source, limits);
        let kind = kind.map_err(|reason| anyhow!("{}: {reason:#}", show(&config.module)))?;
        suits(config, kind)?;
        let digest = *source.digest();
        let (env, mounted) = (variables(config)?, mounted(config, untrusted)?);
        let examined = self.examine_unless_compiled(&source, limits);
        let is_compiled = examined.map_err(|reason| anyhow!("{}: {reason:#}", show(&config.module)))?;
        Ok(Prepared { kind, digest, is_compiled, env, mounted, kept: prepared::kept(config)? })
    }

    /// Finds the mistakes of a module, unless its code is here already. Returns whether it is.
    ///
    /// # Errors
    /// The module is invalid.
    pub(super) fn examine_unless_compiled(
        &self,
        source: &ModuleBytes,
        limits: &CompileLimits,
    ) -> Result<bool> {
        let is_compiled = self.compiled(source.digest()).is_some() || self.sandbox.keeps(source);
        if !is_compiled {
            self.sandbox.examine(source, limits)?;
        }
        Ok(is_compiled)
    }

    /// Returns the version that serves already if nothing about it has changed. It goes on with its counters, its job
    /// slots and its file threads.
    fn unchanged(&self, config: &HandlerConfig, now: &HandlerSources, base: &Catalog) -> Option<MadeHandler> {
        let last = self.last();
        let old = last.made.get(&config.name)?;
        // Neither the line in the file matters nor whether a limit is left to its default. Its routes have its rate limit.
        let asked = AskedLimits::default();
        let settings =
            |config: &HandlerConfig| HandlerConfig { line: 0, asked, limit: None, ..config.clone() };
        let before = last.configured(&config.name)?;
        let serving = base.handlers.get(&config.name)?;
        let same = old.digest == now.digest
            && settings(before) == settings(config)
            // A secret may have changed, or a swap may have changed the version.
            && old.entry.env == now.env
            && has_kept(&old.entry, &now.kept)
            // The path of a mount may lead to another directory now.
            && old.mounted.is_same(&now.mounted)
            && Arc::ptr_eq(&old.entry, serving);
        same.then(|| old.clone())
    }

    /// Returns the current limits on compiling a module.
    pub fn limits(&self) -> CompileLimits {
        self.last().limits
    }

    /// Returns the probe of a handler, if it has one.
    pub fn probe(&self, name: &Name) -> Option<Probe> {
        self.configured(name)?.probe
    }

    pub(super) fn configured(&self, name: &Name) -> Option<HandlerConfig> {
        self.last().configured(name).cloned()
    }

    pub(super) fn wanted(&self, name: &Name) -> Result<HandlerConfig> {
        self.configured(name).with_context(|| format!("there is no handler {:?}", name.as_str()))
    }

    /// Returns a store that is used beside the handlers: by operators, and by rate limits. Does not open it.
    ///
    /// # Errors
    /// Its password is missing.
    pub fn store(&self, store: &StoreConfig) -> Result<Arc<SharedStore>> {
        Ok(self.ground.stores.get(&credential::store(store)?))
    }

    pub(super) fn last(&self) -> MutexGuard<'_, Loaded> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes several handlers in parallel, and returns them in their order.
    fn all(
        &self,
        handlers: &[(&HandlerConfig, Prepared)],
        codes: &Codes,
        base: &Catalog,
    ) -> Vec<Result<MadeHandler>> {
        let mut missing: Vec<&Digest> = Vec::new();
        missing.extend(handlers.iter().filter(|(_, one)| !one.is_compiled).map(|(_, one)| &one.digest));
        missing.sort_unstable();
        missing.dedup();
        codes.count.expect(missing.len());
        let done = Mutex::new(0);
        each(handlers, |(handler, prepared)| {
            let made = self.load(handler, prepared.clone(), codes, base);
            // Locked while the progress is reported, so that the numbers are reported in order.
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += 1;
            let turn = StepTurn { name: &handler.name, number: *done, total: handlers.len() };
            (self.progress)(Step::Ready(turn));
            made
        })
    }

    fn load(
        &self,
        config: &HandlerConfig,
        Prepared { digest, env, mounted, kept, .. }: Prepared,
        codes: &Codes,
        base: &Catalog,
    ) -> Result<MadeHandler> {
        // For an unchanged handler too: the next load looks for its code in `codes`.
        let (digest, code) = match self.compiled(&digest) {
            Some(code) => (digest, codes.of(digest, || Ok(code))),
            None => {
                let ReadFile { bytes, .. } = read(&config.module, codes.limits.module)?;
                let source = ModuleBytes::new(bytes);
                (*source.digest(), self.code(&config.name, &source, codes))
            }
        };
        let code = code.map_err(|reason| anyhow!("{}: {reason}", show(&config.module)))?;
        let sources = HandlerSources { digest, env, mounted: mounted.clone(), kept };
        if let Some(unchanged) = self.unchanged(config, &sources, base) {
            return Ok(unchanged);
        }
        let entry = make(config, sources, &self.ground, code)?;
        Ok(MadeHandler { entry, mounted, digest })
    }

    /// Returns the code of a module that is in use.
    pub(super) fn compiled(&self, digest: &Digest) -> Option<Code> {
        self.last().code.get(digest).cloned()
    }

    /// Returns the code of a module, compiling it if necessary.
    pub(super) fn code(&self, name: &Name, source: &ModuleBytes, codes: &Codes) -> Result<Code, String> {
        let digest = *source.digest();
        codes.of(digest, || match self.compiled(&digest) {
            Some(code) => Ok(code),
            None => {
                let begin = || (self.progress)(Step::Compiling(codes.count.load, codes.count.begin(name)));
                self.sandbox.compile(source, &codes.limits, begin).map_err(|error| format!("{error:#}"))
            }
        })
    }
}

/// Combines several errors into one, a line each.
pub fn lines(errors: &[Error]) -> Error {
    anyhow!(errors.iter().map(|error| format!("{error:#}")).collect::<Vec<_>>().join("\n"))
}
