//! `reload`: builds the next generation aside and publishes it whole, or not at all.

use std::sync::{Arc, Weak};

use anyhow::{Error, Result, anyhow};

use super::load::Loader;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::engine::Engine;
use crate::job::{Fault, Handler, Job, Run, Status};

/// Reads the configuration anew and publishes what it says. The first generation comes this way too.
pub struct Reload {
    /// The engine whose catalog is published, which holds this job.
    pub engine: Weak<Engine>,
    /// What makes catalogs.
    pub loader: Loader,
    /// Reads the configuration, flags applied.
    pub source: Source,
}

/// Reads a configuration; called for every reload.
pub type Source = Box<dyn Fn() -> Result<Config> + Send + Sync>;

impl Handler for Reload {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let engine = self.engine.upgrade().ok_or(Fault::Draining)?;
            let loading = {
                let (this, engine) = (self.clone(), engine.clone());
                // Compiling takes seconds and must not hold up the requests of this thread.
                tokio::task::spawn_blocking(move || this.load(&engine))
            };
            let loaded = loading.await.map_err(|failure| Fault::Host(anyhow!("reload failed: {failure}")))?;
            let (status, said) = match loaded.and_then(|catalog| publish(&engine, catalog)) {
                Ok(said) => (Status::OK, said),
                Err(errors) => (Status::ERROR, errors.iter().map(|error| format!("{error:#}\n")).collect()),
            };
            let to = if status.is_ok() { &job.stdout } else { &job.stderr };
            to.write_all(said).await.map_err(|_| Fault::ReaderGone)?;
            Ok(status)
        })
    }
}

impl Reload {
    fn load(&self, engine: &Engine) -> Result<Catalog, Vec<Error>> {
        // Pinned first: if another reload publishes meanwhile, this one must not undo it.
        let base = engine.live().pin();
        let config = (self.source)().map_err(|error| vec![error])?;
        self.loader.catalog(config, &base)
    }
}

fn publish(engine: &Engine, catalog: Catalog) -> Result<String, Vec<Error>> {
    let Catalog { generation, .. } = catalog;
    let (handlers, routes) = (catalog.handlers.len(), catalog.routes.len());
    engine.live().publish(catalog).map_err(|stale| vec![stale.into()])?;
    Ok(format!("generation {generation}: {handlers} handlers, {routes} routes\n"))
}
