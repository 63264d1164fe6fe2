//! `reload`: builds the next generation aside and publishes it whole, or not at all.

use std::sync::Arc;

use anyhow::{Error, Result, anyhow};

use super::generations::Generations;
use super::tell::tell;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::job::{Handler, Job, Run};

/// Reads the configuration anew and publishes what it says. The first generation comes this way too.
pub struct Reload {
    /// The road of the catalog.
    pub generations: Arc<Generations>,
    /// Reads the configuration, flags applied.
    pub source: Source,
}

/// Reads a configuration; called for every reload.
pub type Source = Box<dyn Fn() -> Result<Config> + Send + Sync>;

impl Handler for Reload {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let outcome = self.reload().await;
            tell(&job, outcome).await
        })
    }
}

impl Reload {
    /// Does it, and says what serves now.
    async fn reload(self: &Arc<Self>) -> Result<String> {
        // Held while modules compile: of two reloads the later one reads the later files.
        let turn = self.generations.turn().await?;
        let (this, base) = (self.clone(), turn.base.clone());
        // Compiling takes seconds and must not hold up the requests of this thread.
        let loading = tokio::task::spawn_blocking(move || this.load(&base));
        let next = loading.await.map_err(|failure| anyhow!("loading failed: {failure}"))??;
        turn.prove(&next).await?;
        let (handlers, routes) = (next.handlers.len(), next.routes.len());
        let generation = turn.publish(next)?;
        Ok(format!("generation {generation}: {handlers} handlers, {routes} routes"))
    }

    fn load(&self, base: &Catalog) -> Result<Catalog> {
        let config = (self.source)()?;
        self.generations.loader.catalog(config, base).map_err(|errors| lines(&errors))
    }
}

/// Makes one error of several, a line each.
fn lines(errors: &[Error]) -> Error {
    let lines: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    anyhow!(lines.join("\n"))
}
