//! The road that every change of the catalog takes: aside, proved, published, one at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::sync::MutexGuard;

use super::load::Loader;
use crate::catalog::Catalog;
use crate::config::Probe;
use crate::engine::Engine;
use crate::http;
use crate::job::{Entry, Fault, Name};

/// Versions kept of each handler, besides the one that serves.
const KEPT: usize = 5;

/// What the jobs that change the catalog share.
pub struct Generations {
    engine: Weak<Engine>,
    /// What makes entries and catalogs.
    pub loader: Loader,
    turn: tokio::sync::Mutex<()>,
    /// Whether another process makes them from now on.
    ended: AtomicBool,
    /// The versions that served before, the latest last.
    past: Mutex<HashMap<Name, VecDeque<Arc<Entry>>>>,
}

/// The right to publish. While it is held, nobody else changes the catalog.
pub struct Turn<'a> {
    generations: &'a Generations,
    /// The engine whose catalog is changed.
    pub engine: Arc<Engine>,
    /// The catalog that serves now.
    pub base: Arc<Catalog>,
    _turn: MutexGuard<'a, ()>,
}

impl Generations {
    /// Makes the road of an engine, which holds the jobs that use it.
    pub fn new(engine: &Arc<Engine>, loader: Loader) -> Generations {
        let engine = Arc::downgrade(engine);
        let (turn, ended) = (tokio::sync::Mutex::default(), AtomicBool::new(false));
        Generations { engine, loader, turn, ended, past: Mutex::default() }
    }

    /// Refuses everybody who waits for a turn, and who will: who changed what nobody serves any more would
    /// be told that it was done.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Waits for the right to publish.
    ///
    /// # Errors
    /// The engine is gone, or another process has taken over.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub async fn turn(&self) -> Result<Turn<'_>> {
        let turn = self.turn.lock().await;
        ensure!(!self.ended.load(Ordering::Acquire), "another process has taken over meanwhile: ask again");
        let engine = self.engine.upgrade().ok_or(Fault::Draining)?;
        let base = engine.live().pin();
        Ok(Turn { generations: self, engine, base, _turn: turn })
    }

    fn past(&self) -> std::sync::MutexGuard<'_, HashMap<Name, VecDeque<Arc<Entry>>>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Proves every version of `next` that does not serve yet: its module can be instantiated within
    /// its limits, and its probe, if it has one, is answered as configured.
    ///
    /// # Errors
    /// The first version that fails.
    pub async fn prove(&self, next: &Arc<Catalog>) -> Result<()> {
        for (name, entry) in &next.handlers {
            let serving = self.base.handlers.get(name);
            if serving.is_none_or(|serving| !Arc::ptr_eq(serving, entry)) {
                self.prove_entry(next, entry)
                    .await
                    .with_context(|| format!("handler {:?}", name.as_str()))?;
            }
        }
        Ok(())
    }

    /// Proves one version.
    ///
    /// # Errors
    /// What it failed at.
    pub async fn prove_entry(&self, catalog: &Arc<Catalog>, entry: &Arc<Entry>) -> Result<()> {
        entry.handler.clone().prove(entry.limits.clone()).await?;
        let Some(Probe { path, status }) = self.generations.loader.probe(&entry.name) else { return Ok(()) };
        let found = http::probe(&self.engine, catalog, entry, &path)
            .await
            .with_context(|| format!("probe {path:?} failed"))?;
        ensure!(found == status, "probe {path:?} was answered {found}, wanted {status}");
        Ok(())
    }

    /// Makes `next` the catalog that serves, and keeps the versions that it replaces.
    ///
    /// # Errors
    /// Somebody published without a turn: a bug of ours.
    pub fn publish(self, next: impl Into<Arc<Catalog>>) -> Result<u64> {
        let next = next.into();
        let generation = next.generation;
        let replaced = self
            .base
            .handlers
            .iter()
            .filter(|(name, old)| next.handlers.get(*name).is_some_and(|new| new.version != old.version));
        let replaced: Vec<Arc<Entry>> = replaced.map(|(_, old)| old.clone()).collect();
        let names: Vec<Name> = next.handlers.keys().cloned().collect();
        self.engine.live().publish(next)?;
        let mut past = self.generations.past();
        past.retain(|name, _| names.contains(name));
        for entry in replaced {
            let versions = past.entry(entry.name.clone()).or_default();
            versions.push_back(entry);
            while versions.len() > KEPT {
                versions.pop_front();
            }
        }
        Ok(generation)
    }

    /// Publishes the version of a handler that served before this one.
    ///
    /// # Errors
    /// There is no such handler, or no version before.
    pub fn roll_back(self, name: &Name) -> Result<(Arc<Entry>, Arc<Entry>)> {
        let Some(serving) = self.base.handlers.get(name).cloned() else {
            bail!("there is no handler {:?}", name.as_str());
        };
        let before = self.generations.past().get_mut(name).and_then(VecDeque::pop_back);
        let Some(before) = before else {
            bail!("{name}: no version served before {}", serving.version);
        };
        self.engine.live().publish(self.base.with(&before))?;
        Ok((serving, before))
    }
}
