//! `rollback NAME`: ends the trial of a handler, or goes back to the version that served before.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::generations::{self, Generations};
use super::tell::tell;
use crate::job::{Handler, Job, Name, Run, Stay};

/// Goes back, one version at a time.
pub struct Rollback {
    /// The road of the catalog.
    pub generations: Arc<Generations>,
}

impl Handler for Rollback {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let outcome = self.roll_back(&job).await;
            tell(&job, outcome.map(|told| told.to_string())).await
        })
    }

    fn stay(&self) -> Stay {
        Stay::Change
    }
}

impl Rollback {
    async fn roll_back(&self, job: &Job) -> Result<Value> {
        let name: Name = job.args.first().context("usage: rollback NAME")?.parse()?;
        let (old, new, trial) = match self.generations.turn().await?.roll_back(&name).await? {
            generations::Rollback::OfVersion { serving, before } => (serving, before, None),
            generations::Rollback::OfTrial { on_trial, serving } => (on_trial, serving, Some("ended")),
        };
        Ok(json!({ "handler": name.as_str(), "old": old.version, "new": new.version, "trial": trial }))
    }
}
