//! `promote NAME`: ends the trial of a handler for the version on trial, before its verdict.

use std::sync::Arc;

use anyhow::Result;
use tracing::{error, info};

use super::api::{PromoteCommand, PromoteReply};
use super::generations::Generations;
use super::reply::ReplyJob;
use crate::engine::Engine;
use crate::job::Job;

/// Promotes versions on trial.
pub struct Promote {
    /// Publishes catalogs.
    pub generations: Arc<Generations>,
}

impl ReplyJob for Promote {
    type Command = PromoteCommand;

    async fn answer(&self, engine: &Arc<Engine>, job: &Job) -> Result<PromoteReply> {
        let PromoteCommand { name } = PromoteCommand::decode(&job.args)?;
        let (on_trial, serving) = self.generations.turn(engine).await?.promote(&name)?;
        info!(
            "{name}: an operator has promoted version {}, which replaces {}",
            on_trial.version, serving.version
        );
        // Secrets that changed during the trial were given only to the version that served.
        if let Err(failure) = self.generations.refresh(engine).await {
            error!(
                "{name}: version {} keeps the secrets that it had in its trial: {failure:#}",
                on_trial.version
            );
        }
        let (old, new) = (serving.version.clone(), on_trial.version.clone());
        Ok(PromoteReply { handler: name.to_string(), old, new })
    }
}
