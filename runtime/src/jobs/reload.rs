//! `reload`: loads the next generation aside, and publishes it completely or not at all.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Error, Result, anyhow};
use tracing::info;

use super::api::{ChangesReport, RefreshReply, ReloadCommand, ReloadReply};
use super::changes::{self, CatalogSide};
use super::daemon_state::DaemonState;
use super::generations::{Generations, Publisher};
use super::load::{Candidate, DisplacedDir, Migrating, ReopenedPaths, lines};
use super::reload_refusals::{denied, refusals};
use super::reply::{json, tell};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::confine::PathGrant;
use crate::engine::{Engine, NativeJob};
use crate::job::{Job, Name, Run};
use crate::net::{GateState, ListenerChange, Tls, differences};
use crate::observe::systemd;
use crate::wasm::compile::CompileLimits;

/// Reads the configuration again and puts it into effect. Loads the first generation as well.
pub struct Reload {
    /// Publishes catalogs.
    pub generations: Arc<Generations>,
    /// Reads the configuration and applies the flags.
    pub source: ConfigSource,
    /// The path of the configuration file.
    pub file: PathBuf,
    /// The state that changes with the catalog.
    pub state: Arc<DaemonState>,
    /// The paths that are still accessible.
    pub granted: Granted,
}

/// Reads a configuration; called for the start and for every reload.
pub type ConfigSource = Arc<dyn Fn(ConfigReading) -> Result<Config> + Send + Sync>;

/// The purpose for which a configuration is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigReading {
    /// The start of a process: all that it names must be there.
    Start,
    /// A reload: the daemon holds the mounts of the configuration before, and its loader checks the others.
    Reload,
}

/// The paths that the process can still access, or `None` if it can access all of them.
pub type Granted = Option<Arc<[PathGrant]>>;

/// A generation that is ready to be published. Dropping it undoes it.
struct LoadedGeneration {
    next: Candidate,
    change: ListenerChange,
    tls: Option<Tls>,
    config: Config,
    read: SystemTime,
    /// What was replaced under its path.
    reopened: ReopenedPaths,
    /// The migrations that were applied.
    migrations: Vec<String>,
}

impl NativeJob for Reload {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let command = match ReloadCommand::decode(&job.args) {
                Ok(command) => command,
                Err(usage) => return tell(&job, Err(usage)).await,
            };
            let serving = self.state.server.gate.state() == GateState::Open;
            if serving {
                systemd::reloading();
            }
            let outcome = match command {
                ReloadCommand::Everything => self.reload(&engine).await.and_then(|done| json(&done)),
                ReloadCommand::Secrets => self.refresh(&engine).await.and_then(|done| json(&done)),
            };
            let told = outcome.as_ref().map(drop).map_err(|refusal| format!("{refusal:#}"));
            match command {
                ReloadCommand::Everything => self.state.reloads.ended(told),
                ReloadCommand::Secrets => self.state.reloads.refreshed(told),
            }
            self.generations.tidy().await;
            if serving {
                // The reason of a refusal follows with the next status report.
                systemd::ready(&self.state.state());
            }
            tell(&job, outcome).await
        })
    }
}

impl Reload {
    /// Reloads the secrets, and lists the handlers whose secrets have changed.
    async fn refresh(&self, engine: &Arc<Engine>) -> Result<RefreshReply> {
        let handlers = self.generations.refresh(engine).await?;
        let generation = engine.live().pin().generation;
        Ok(RefreshReply { generation, refreshed: handlers.iter().map(Name::to_string).collect() })
    }

    /// Reloads everything, and describes the new generation and its changes.
    async fn reload(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<ReloadReply> {
        // Held while modules compile, so that of two reloads the later one reads the later files.
        let turn = self.generations.turn(engine).await?;
        let (this, base) = (self.clone(), turn.base.clone());
        // Compiling takes seconds and must not block the requests of this thread.
        let loading = tokio::task::spawn_blocking(move || this.load(&base));
        let loaded = loading.await.map_err(|failure| anyhow!("loading failed: {failure}"))??;
        turn.prove(&loaded.next).await?;
        Ok(self.publish(turn, loaded))
    }

    /// Puts a generation into effect. Cannot fail, so that no catalog is served without its sockets.
    fn publish(&self, turn: Publisher<'_>, loaded: LoadedGeneration) -> ReloadReply {
        let LoadedGeneration { next, change, tls, config, read, reopened, migrations } = loaded;
        let base = turn.base.clone();
        let (old, new) = (CatalogSide::of(&base), CatalogSide::of(&next.catalog));
        let before = self.state.tls();
        let tls = tls.map(|tls| tls.or_same(before.clone()));
        let unlike = differences(before.as_deref(), tls.as_deref());
        let settings = changes::settings(&self.state.config.load(), &config, unlike, reopened);
        let reply = ReloadReply {
            generation: next.catalog.generation,
            handlers: next.catalog.handlers.len(),
            routes: next.catalog.routes.len(),
            changes: ChangesReport {
                displaced: next.displaced.iter().map(DisplacedDir::to_string).collect(),
                migrations,
                ..changes::between(old, new, settings, changes::trials(&base))
            },
        };
        // Otherwise a developer who saves another file would not know why the swapped version has gone.
        for swapped in turn.undone(&next.catalog) {
            info!("{swapped}, and the reload goes back to the file of its handler");
        }
        turn.publish_loaded(next);
        self.state.adopt(config, tls);
        self.state.sockets.apply(change);
        self.state.announce(read);
        self.state.sockets.warn_of_clear(self.state.tls().as_deref());
        if self.state.server.gate.state() == GateState::Open {
            self.state.keep();
        }
        reply
    }

    /// Checks that the next process of an upgrade could use what its configuration names. A configuration that this
    /// process cannot read is not checked: the next release may understand more, and reports its own errors. Returns
    /// the limits of the next process on compiling a module.
    ///
    /// # Errors
    /// What it could not use.
    pub(super) fn check_next(&self) -> Result<CompileLimits> {
        let Ok(config) = (self.source)(ConfigReading::Start) else {
            return Ok(self.generations.loader.limits());
        };
        // The next process holds no mount yet.
        let untrusted = self.generations.loader.untrusted(&config.handlers);
        let denied = denied(self.granted.as_deref(), &config, &self.file, untrusted);
        if denied.is_empty() { Ok(config.compile) } else { Err(lines(&denied)) }
    }

    fn load(&self, base: &Catalog) -> Result<LoadedGeneration> {
        let read = SystemTime::now();
        let config = (self.source)(ConfigReading::Reload)?;
        let (granted, loader) = (self.granted.as_deref(), &self.generations.loader);
        let refused = refusals(&self.state, granted, (&config, &self.file), base, loader);
        if !refused.is_empty() {
            // Stops here: opening a path that is out of reach would fail with a misleading error.
            return Err(lines(&refused));
        }
        let change = self.state.sockets.prepare(&config.listen);
        let tls = config.tls.as_ref().map(Tls::load).transpose();
        match (change, tls, self.generations.loader.catalog(config.clone(), base)) {
            (Ok(change), Ok(tls), Ok(next)) => {
                // A look at a file may block, so it belongs to the load.
                let reopened = loader.reopened_by(&next);
                // After all else is sound: a schema is not changed for a configuration that cannot serve. Before new
                // versions are proved, because their probes may need it.
                let migrations = self.generations.loader.migrate(&config, Migrating::Apply);
                let migrations = migrations.map_err(|errors| lines(&errors))?;
                for line in &migrations {
                    info!("migration applied: {line}");
                }
                Ok(LoadedGeneration { next, change, tls, config, read, reopened, migrations })
            }
            (change, tls, next) => {
                let refused = change.err().into_iter().chain(tls.err().into_iter().flatten());
                let errors: Vec<Error> = refused.chain(next.err().into_iter().flatten()).collect();
                Err(lines(&errors))
            }
        }
    }
}
