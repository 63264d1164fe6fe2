//! `rollback NAME`: ends the trial of a handler, or goes back to the version that served before.

use std::sync::Arc;

use anyhow::Result;

use super::api::{RollbackCommand, RollbackReply, TrialEnd};
use super::generations::{self, Generations};
use super::reply::ReplyJob;
use crate::engine::Engine;
use crate::job::Job;

/// Rolls back, one version at a time.
pub struct Rollback {
    /// Publishes catalogs.
    pub generations: Arc<Generations>,
}

impl ReplyJob for Rollback {
    type Command = RollbackCommand;

    async fn answer(&self, engine: &Arc<Engine>, job: &Job) -> Result<RollbackReply> {
        let RollbackCommand { name } = RollbackCommand::decode(&job.args)?;
        let (old, new, trial) = match self.generations.turn(engine).await?.roll_back(&name).await? {
            generations::RolledBack::OfVersion { serving, before } => (serving, before, None),
            generations::RolledBack::OfTrial { on_trial, serving } => {
                (on_trial, serving, Some(TrialEnd::Ended))
            }
        };
        let (old, new) = (old.version.clone(), new.version.clone());
        Ok(RollbackReply { handler: name.to_string(), old, new, trial })
    }
}
