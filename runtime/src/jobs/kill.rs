//! `kill ID`: ends one job at an operator's request.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::api::{KillCommand, KillReply};
use super::reply::ReplyJob;
use crate::engine::Engine;
use crate::job::{Job, JobId};

/// Ends jobs of this engine.
pub struct Kill;

impl ReplyJob for Kill {
    type Command = KillCommand;

    async fn answer(&self, engine: &Arc<Engine>, job: &Job) -> Result<KillReply> {
        kill(engine, &KillCommand::decode(&job.args)?)
    }
}

fn kill(engine: &Engine, KillCommand { id }: &KillCommand) -> Result<KillReply> {
    let number: JobId =
        id.parse().ok().with_context(|| format!("{id:?} is not the id of a job: `jobs` lists them"))?;
    if let Some(found) = engine.snapshots().iter().find(|found| found.id == number) {
        let name = &found.entry.name;
        ensure!(
            !found.entry.policy.is_essential,
            "{name} is a part of the daemon: `shutdown` ends the daemon"
        );
    }
    ensure!(engine.kill(number), "no job {number} runs (it may have ended)");
    Ok(KillReply { killed: number.to_string() })
}
