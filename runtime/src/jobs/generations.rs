//! Publishes generations: a change is made aside, proved, and published, one change at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tokio::sync::MutexGuard;
use tokio::time::sleep;
use tracing::{error, warn};

use super::load::{Candidate, Loader, Uploaded, check_places, lines};
use crate::catalog::{Alive, Catalog, TrialVersion};
use crate::config::Probe;
use crate::engine::Engine;
use crate::http;
use crate::job::{HandlerVersion, Name};

/// The maximum number of earlier versions kept of each handler.
const KEPT: usize = 5;

/// The state that the jobs share which change the catalog.
pub struct Generations {
    /// Makes handler versions and catalogs.
    pub loader: Loader,
    turn: tokio::sync::Mutex<()>,
    /// Set once another process has taken over.
    ended: AtomicBool,
    /// Set while a task waits to tidy the cache again, when older generations are gone.
    tidies_later: AtomicBool,
    /// The modules that served before, the latest last. Grants are not kept with them: a grant may have been withdrawn
    /// since.
    past: Mutex<HashMap<Name, VecDeque<Uploaded>>>,
    /// The version of each handler that the last load produced. A handler that serves another version was swapped
    /// since.
    loaded: Mutex<HashMap<Name, String>>,
}

/// The right to publish. Holding it excludes all other changes of the catalog.
pub struct Publisher<'a> {
    generations: &'a Generations,
    /// The engine whose catalog is changed.
    pub engine: Arc<Engine>,
    /// The catalog that serves now.
    pub base: Arc<Catalog>,
    _turn: MutexGuard<'a, ()>,
}

/// The outcome of a rollback.
pub enum RolledBack {
    /// The previous version serves again.
    OfVersion {
        /// The version that no longer serves.
        serving: Arc<HandlerVersion>,
        /// The version that serves again.
        before: Arc<HandlerVersion>,
    },
    /// The trial was ended.
    OfTrial {
        /// The version that gets no more requests.
        on_trial: Arc<HandlerVersion>,
        /// The version that serves all requests, as before the trial.
        serving: Arc<HandlerVersion>,
    },
}

impl Generations {
    /// Starts without earlier versions.
    pub fn new(loader: Loader) -> Generations {
        Generations {
            loader,
            turn: tokio::sync::Mutex::default(),
            ended: AtomicBool::new(false),
            tidies_later: AtomicBool::new(false),
            past: Mutex::default(),
            loaded: Mutex::default(),
        }
    }

    /// Refuses all waiting and later changes: this process no longer serves, so a change would have no effect although
    /// it was reported as done.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Returns `true` once another process has taken over.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Evicts compiled modules from the cache beyond its limit, except those in use. Repeats that once all requests of
    /// older generations have ended, since their code is in use until then.
    ///
    /// # Cancel safety
    /// If the future is dropped, the work goes on in a thread.
    pub async fn tidy(self: &Arc<Self>) {
        self.tidy_now().await;
        if Alive::count() > 1 && !self.tidies_later.swap(true, Ordering::AcqRel) {
            tokio::spawn(tidy_later(Arc::downgrade(self)));
        }
    }

    async fn tidy_now(self: &Arc<Self>) {
        let this = self.clone();
        let tidying = move || {
            let past: Vec<Uploaded> = this.past().values().flatten().cloned().collect();
            this.loader.tidy(past);
        };
        if let Err(failure) = tokio::task::spawn_blocking(tidying).await {
            warn!("the cache of compiled modules is not tidied: {failure}");
        }
    }

    /// Gives the handlers the current secrets and changes nothing else. Returns the handlers whose secrets have
    /// changed.
    ///
    /// # Errors
    /// A secret cannot be read, or a handler fails its probe with the new secret. That handler keeps its secrets; the
    /// other handlers get theirs all the same.
    pub async fn refresh(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<Vec<Name>> {
        let turn = self.turn(engine).await?;
        let (this, base) = (self.clone(), turn.base.clone());
        // Reading may block, as on a network file system.
        let reading = tokio::task::spawn_blocking(move || this.loader.refreshed(&base));
        let made = reading.await.map_err(|failure| anyhow!("reading secrets failed: {failure}"))?;
        let (mut refreshed, mut refusals) = (Vec::new(), Vec::new());
        for (name, made) in made {
            match turn.prove_refreshed(made).await {
                Ok(entry) => refreshed.push(entry),
                Err(refusal) => refusals.push(format!("handler {:?}: {refusal:#}", name.as_str())),
            }
        }
        let names: Vec<Name> = refreshed.iter().map(|entry| entry.name.clone()).collect();
        if !refreshed.is_empty() {
            // While the right to publish is held: a reload that follows must find them, or it would make these handlers
            // again.
            for entry in &refreshed {
                self.loader.adopt_refreshed(&turn.base.handlers[&entry.name], entry);
            }
            let next = turn.base.with_same_versions(&refreshed);
            turn.publish(next);
        }
        if !refusals.is_empty() {
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            if !names.is_empty() {
                refusals.insert(0, format!("updated handlers: {}; failed:", names.join(", ")));
            }
            bail!("{}", refusals.join("\n"));
        }
        Ok(names)
    }

    /// Gives a version that was promoted the current secrets: those that changed during its trial were given only to the
    /// version that served. Logs a failure; the version then keeps those of its trial.
    pub(super) async fn refresh_promoted(self: &Arc<Self>, engine: &Arc<Engine>, promoted: &HandlerVersion) {
        if let Err(failure) = self.refresh(engine).await {
            let HandlerVersion { name, version, .. } = promoted;
            error!("{name}: version {version} keeps the secrets that it had in its trial: {failure:#}");
        }
    }

    /// Waits for the right to publish.
    ///
    /// # Errors
    /// Another process has taken over.
    ///
    /// # Cancel safety
    /// Dropping the future gives up its place in the queue.
    pub async fn turn(&self, engine: &Arc<Engine>) -> Result<Publisher<'_>> {
        let turn = self.turn.lock().await;
        ensure!(!self.has_ended(), "another process has taken over meanwhile: ask again");
        let (engine, base) = (engine.clone(), engine.live().pin());
        Ok(Publisher { generations: self, engine, base, _turn: turn })
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, HashMap<Name, String>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn past(&self) -> std::sync::MutexGuard<'_, HashMap<Name, VecDeque<Uploaded>>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publisher<'_> {
    /// Lists what another process would not have of this catalog, a line each: trials, and versions that were swapped
    /// in and differ from the file of their handler. Reads those files.
    pub fn losses(&self) -> Vec<String> {
        let Generations { loader, .. } = self.generations;
        let loaded = self.generations.loaded();
        let trial = |(name, TrialVersion { entry, .. }): (&Name, &TrialVersion)| {
            format!("{name}: the trial of {} would end", entry.version)
        };
        let swapped = self.base.handlers.iter().filter_map(|(name, entry)| {
            let version = &entry.version;
            let kept = loaded.get(name) == Some(version) || loader.on_disk(name).as_ref() == Some(version);
            (!kept).then(|| format!("{name}: {version} was swapped in, and differs from its file"))
        });
        swapped.chain(self.base.trials.iter().map(trial)).collect()
    }

    /// Lists the versions that were swapped in and that `next` replaces, a line each.
    pub fn undone(&self, next: &Catalog) -> Vec<String> {
        let loaded = self.generations.loaded();
        let undone = self.base.handlers.iter().filter(|(name, serving)| {
            let is_replaced = |next: &Arc<HandlerVersion>| next.version != serving.version;
            next.handlers.get(*name).is_some_and(is_replaced) && loaded.get(*name) != Some(&serving.version)
        });
        undone.map(|(name, serving)| format!("{name}: {} was swapped in", serving.version)).collect()
    }

    /// Checks that a version may stand where its handler is named. `next` has it already.
    ///
    /// # Errors
    /// All places where it cannot stand.
    pub fn check_places(&self, next: &Catalog, entry: &HandlerVersion) -> Result<()> {
        let placed = check_places(next, entry, self.engine.budgets().places.all());
        placed.map_err(|errors| lines(&errors))
    }

    /// Proves every version of `next` that does not serve yet: its module can be instantiated within its limits, and
    /// its probe, if any, gets the configured status.
    ///
    /// # Errors
    /// The failure of the first version that fails.
    pub async fn prove(&self, next: &Candidate) -> Result<()> {
        for (name, entry) in &next.catalog.handlers {
            let serving = self.base.handlers.get(name);
            if serving.is_none_or(|serving| !Arc::ptr_eq(serving, entry)) {
                self.prove_entry(&next.catalog, entry, next.probe(name))
                    .await
                    .with_context(|| format!("handler {:?}", name.as_str()))?;
            }
        }
        Ok(())
    }

    /// Proves one version.
    ///
    /// # Errors
    /// The instantiation or the probe failed.
    pub async fn prove_entry(
        &self,
        catalog: &Arc<Catalog>,
        entry: &Arc<HandlerVersion>,
        probe: Option<Probe>,
    ) -> Result<()> {
        entry.handler.clone().prove(entry.limits.clone()).await?;
        let Some(probe) = probe else { return Ok(()) };
        self.ask(catalog, entry, &probe).await?;
        // A reused instance must answer more than once, or clients would be the first to notice.
        if entry.grants.reuse.is_some_and(|requests| requests.get() > 1) {
            self.ask(catalog, entry, &probe).await.with_context(|| {
                format!("probe {:?} asked the same instance again (reuse): it answers only once, so leave reuse out", probe.path)
            })?;
        }
        Ok(())
    }

    /// Proves a version that differs from the serving one in its secrets.
    async fn prove_refreshed(&self, made: Result<Arc<HandlerVersion>>) -> Result<Arc<HandlerVersion>> {
        let entry = made?;
        let probe = self.generations.loader.probe(&entry.name);
        // Only a probe needs a catalog of its own, and making one takes time for every route.
        let next = match probe {
            Some(_) => Arc::new(self.base.with_same_versions(std::slice::from_ref(&entry))),
            None => self.base.clone(),
        };
        self.prove_entry(&next, &entry, probe).await?;
        Ok(entry)
    }

    async fn ask(
        &self,
        catalog: &Arc<Catalog>,
        entry: &Arc<HandlerVersion>,
        Probe { path, status }: &Probe,
    ) -> Result<()> {
        let found = http::probe(&self.engine, catalog, entry, path)
            .await
            .with_context(|| format!("probe {path:?} failed"))?;
        ensure!(found == *status, "probe {path:?}: the response has status {found}, wanted {status}");
        Ok(())
    }

    /// Publishes `next`, which was made from [`Publisher::base`], and keeps the versions that it replaces. Returns its
    /// generation.
    ///
    /// Cannot fail. All that can fail is done before, so an error means that nothing has changed.
    pub fn publish(self, next: impl Into<Arc<Catalog>>) -> u64 {
        let next = next.into();
        let replaced = self
            .base
            .handlers
            .iter()
            .filter(|(name, old)| next.handlers.get(*name).is_some_and(|new| new.version != old.version));
        let module = |(name, old): (&Name, &Arc<HandlerVersion>)| {
            Some((name.clone(), self.generations.loader.module(old)?))
        };
        let replaced: Vec<(Name, Uploaded)> = replaced.filter_map(module).collect();
        let generation = self.put(next.clone());
        let mut past = self.generations.past();
        past.retain(|name, _| next.handlers.contains_key(name));
        for (name, module) in replaced {
            let versions = past.entry(name).or_default();
            versions.push_back(module);
            while versions.len() > KEPT {
                versions.pop_front();
            }
        }
        generation
    }

    /// Publishes the catalog of a load, and makes it the loader's base for the next one. See [`Publisher::publish`].
    pub fn publish_loaded(self, next: Candidate) -> u64 {
        let (generations, loaded) = (self.generations, versions(&next.catalog));
        let generation = self.publish(generations.loader.adopt(next));
        *generations.loaded() = loaded;
        generation
    }

    fn put(&self, next: Arc<Catalog>) -> u64 {
        let generation = next.generation;
        self.engine.live().publish(next).expect("only the holder of the turn publishes a catalog");
        generation
    }

    /// Ends the trial of a handler. If there is no trial, publishes the version that served before, under the current
    /// settings.
    ///
    /// # Errors
    /// There is no such handler or no earlier version, or the earlier version cannot run under the current settings.
    pub async fn roll_back(self, name: &Name) -> Result<RolledBack> {
        let Some(serving) = self.base.handlers.get(name).cloned() else {
            bail!("there is no handler {:?}", name.as_str());
        };
        if let Some(tried) = self.base.trials.get(name) {
            let on_trial = tried.entry.clone();
            let next = self.base.without_trial(name);
            self.publish(next);
            return Ok(RolledBack::OfTrial { on_trial, serving });
        }
        let module = self.generations.past().get(name).and_then(|modules| modules.back().cloned());
        let Some(module) = module else {
            bail!("{name}: no version served before {}", serving.version);
        };
        let before = tokio::task::block_in_place(|| self.generations.loader.version(name, module))?;
        let next = Arc::new(self.base.with(&before));
        // A reload may have put its handler elsewhere.
        self.check_places(&next, &before)?;
        // Without its probe: this version has passed it before, and a rollback must not depend on more than necessary.
        self.prove_entry(&next, &before, None).await?;
        if let Some(modules) = self.generations.past().get_mut(name) {
            modules.pop_back();
        }
        self.put(next);
        Ok(RolledBack::OfVersion { serving, before })
    }
}

/// Tidies the cache once only the current generation is left.
async fn tidy_later(generations: Weak<Generations>) {
    let mut pause = Duration::from_millis(100);
    loop {
        sleep(pause).await;
        // At most a minute: a connection may last for hours.
        pause = (pause * 2).min(Duration::from_secs(60));
        let Some(generations) = generations.upgrade() else { return };
        if Alive::count() <= 1 {
            generations.tidies_later.store(false, Ordering::Release);
            return generations.tidy_now().await;
        }
    }
}

/// Returns the version of each handler in a catalog.
fn versions(catalog: &Catalog) -> HashMap<Name, String> {
    catalog.handlers.iter().map(|(name, entry)| (name.clone(), entry.version.clone())).collect()
}
