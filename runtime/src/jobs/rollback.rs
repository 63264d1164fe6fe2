//! `rollback NAME`: ends the trial of a handler, or goes back to the version that served before.

use std::sync::Arc;

use anyhow::Result;

use super::api::{RollbackCommand, RollbackReply, TrialEnd};
use super::generations::{self, Generations};
use super::reply::reply;
use crate::engine::{Engine, NativeJob};
use crate::job::{Job, Run};

/// Rolls back, one version at a time.
pub struct Rollback {
    /// Publishes catalogs.
    pub generations: Arc<Generations>,
}

impl NativeJob for Rollback {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let outcome = self.roll_back(&engine, &job).await;
            reply(&job, outcome).await
        })
    }
}

impl Rollback {
    async fn roll_back(&self, engine: &Arc<Engine>, job: &Job) -> Result<RollbackReply> {
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
