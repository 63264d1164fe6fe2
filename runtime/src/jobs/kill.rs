//! `kill ID`: ends one job at an operator's request.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::api::{KillCommand, KillReply};
use super::reply::reply;
use crate::engine::{Engine, NativeJob};
use crate::job::{Job, JobId, Run};

/// Ends jobs of this engine.
pub struct Kill;

impl NativeJob for Kill {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let outcome = KillCommand::decode(&job.args).and_then(|command| kill(&engine, &command));
            reply(&job, outcome).await
        })
    }
}

fn kill(engine: &Engine, KillCommand { id }: &KillCommand) -> Result<KillReply> {
    let number: JobId =
        id.parse().ok().with_context(|| format!("{id:?} is not the id of a job: `jobs` lists them"))?;
    if let Some(found) = engine.sightings().iter().find(|found| found.id == number) {
        let name = &found.entry.name;
        ensure!(!found.entry.policy.is_essential, "{name} is a part of the daemon: `shutdown` ends both");
    }
    ensure!(engine.kill(number), "no job {number} runs (it may have ended)");
    Ok(KillReply { killed: number.to_string() })
}
