//! `plan FILE` or `plan - [DIR]`: what a reload of a configuration would change, or why it would be refused.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow};

use super::api::{ChangesReport, PlanCommand, PlanReply};
use super::changes::{self, CatalogSide};
use super::daemon_state::DaemonState;
use super::generations::Generations;
use super::load::{DisplacedDir, Draft, Migrating, lines};
use super::reload::Granted;
use super::reload_refusals::refusals;
use super::reply::reply;
use crate::config::{self, Config};
use crate::engine::{Engine, NativeJob};
use crate::job::{Fault, Job, Run, Status};
use crate::net::differences;
use crate::operator_file;

/// Compares a configuration with the live one.
pub struct Plan {
    /// Holds the loader.
    pub generations: Arc<Generations>,
    /// The settings to compare with.
    pub state: Arc<DaemonState>,
    /// Applies the flags of the command line to the configuration.
    pub overlay: Overlay,
    /// The paths that are still accessible.
    pub granted: Granted,
}

/// Applies the flags of the command line to a configuration.
///
/// # Errors
/// The flags and the configuration contradict each other.
pub type Overlay = Arc<dyn Fn(&mut Config) -> Result<()> + Send + Sync>;

/// Where the configuration to plan comes from.
enum PlanSource {
    File(PathBuf),
    Text { text: String, base: PathBuf },
}

impl NativeJob for Plan {
    fn run(self: Arc<Self>, engine: Arc<Engine>, mut job: Job) -> Run {
        Box::pin(async move {
            let source = match PlanCommand::decode(&job.args) {
                Ok(PlanCommand::Stdin(dir)) => match job.stdin.read_to_end(config::LARGEST).await {
                    Ok(text) => String::from_utf8(text)
                        .map(|text| PlanSource::Text { text, base: dir.into() })
                        .map_err(|_| anyhow!("the configuration is not UTF-8")),
                    Err(Fault::InputTooLarge(max)) => {
                        Err(anyhow!("the configuration: {}", operator_file::ReadError::TooLarge(max)))
                    }
                    Err(fault) => return Err(fault),
                },
                Ok(PlanCommand::File(file)) => Ok(PlanSource::File(file.into())),
                Err(usage) => Err(usage),
            };
            let generations = self.generations.clone();
            let planning = move || source.and_then(|source| self.plan(&engine, source));
            // Compiling takes seconds and must not block the requests of this thread.
            let planned = tokio::task::spawn_blocking(planning).await;
            let planned = planned.map_err(|failure| Fault::Host(anyhow!("planning failed: {failure}")))?;
            generations.tidy().await;
            let refused = planned.as_ref().is_ok_and(|plan| !plan.refused.is_empty());
            let told = reply::<PlanCommand>(&job, planned).await?;
            Ok(if refused { Status::ERROR } else { told })
        })
    }
}

impl Plan {
    /// Describes what a reload would change.
    ///
    /// # Errors
    /// The configuration, or a file that it names, is invalid.
    fn plan(&self, engine: &Engine, source: PlanSource) -> Result<PlanReply> {
        let (mut config, file) = source.read()?;
        (self.overlay)(&mut config)?;
        config.check_again(&file)?;
        let live = engine.live().pin();
        let loader = &self.generations.loader;
        let refused = refusals(&self.state, self.granted.as_deref(), (&config, &file), &live, loader);
        let examined = loader.examine(&config, &live);
        let warnings = examined.unreachable.clone();
        let sound = examined.sound();
        let (tls, draft, migrations) = match (sound, loader.migrate(&config, Migrating::List)) {
            (Ok((tls, draft)), Ok(migrations)) => (tls, draft, migrations),
            (sound, migrations) => {
                let errors = sound.err().into_iter().flatten().chain(migrations.err().into_iter().flatten());
                return Err(lines(&refused.into_iter().chain(errors).collect::<Vec<_>>()));
            }
        };
        let unlike = differences(self.state.tls().as_deref(), tls.as_ref());
        let reopened = loader.reopened_in(&draft);
        let settings = changes::settings(&self.state.config.load(), &config, unlike, reopened);
        let Draft { handlers, routes, displaced, .. } = &draft;
        let (old, new) = (CatalogSide::of(&live), CatalogSide { handlers, routes });
        Ok(PlanReply {
            changes: ChangesReport {
                displaced: displaced.iter().map(DisplacedDir::to_string).collect(),
                migrations,
                ..changes::between(old, new, settings, changes::trials(&live))
            },
            warnings,
            refused: refused.iter().map(|refusal| format!("{refusal:#}")).collect(),
        })
    }
}

impl PlanSource {
    /// Reads the configuration. Returns it with the path of its file.
    fn read(self) -> Result<(Config, PathBuf)> {
        Ok(match self {
            PlanSource::File(path) => (config::load_again(&path)?, path),
            PlanSource::Text { text, base } => {
                (config::parse_again(&text, &base, "stdin")?, base.join("stdin"))
            }
        })
    }
}
