//! `swap NAME`: replaces a handler's module by the one on stdin, at once or after a trial.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::generations::Generations;
use super::tell::tell;
use crate::catalog::Percent;
use crate::job::{Entry, Handler, Job, Name, Run, Stay};
use crate::wasm::Source;

/// How long a trial lasts that does not say.
const TRIAL: Duration = Duration::from_secs(60);

/// Swaps in new versions.
///
/// `CANARY` in the environment (`10` or `10%`) puts the new version on trial with that share of the
/// requests, `FOR` (`60s`) says for how long; the job `canary` then promotes it or goes back.
pub struct Swap {
    /// The road of the catalog.
    pub generations: Arc<Generations>,
    /// Reads a duration as the configuration does.
    pub duration: fn(&str) -> Result<Duration>,
}

impl Handler for Swap {
    fn run(self: Arc<Self>, mut job: Job) -> Run {
        Box::pin(async move {
            let bytes = job.stdin.read_to_end(Source::LARGEST).await?;
            let outcome = self.swap(&job, bytes).await;
            tell(&job, outcome.map(|told| told.to_string())).await
        })
    }

    fn stay(&self) -> Stay {
        Stay::Change
    }
}

impl Swap {
    async fn swap(self: &Arc<Self>, job: &Job, bytes: Vec<u8>) -> Result<serde_json::Value> {
        let name: Name = job.args.first().context("usage: swap NAME < MODULE")?.parse()?;
        let trial = self.trial(job)?;
        let entry = self.compile(name, bytes).await?;
        let turn = self.generations.turn().await?;
        let name = &entry.name;
        let Some(serving) = turn.base.handlers.get(name).cloned() else {
            return Err(anyhow!("there is no handler {:?}: a swap replaces one that serves", name.as_str()));
        };
        let next = match trial {
            Some((percent, _)) => turn.base.with_canary(entry.clone(), percent),
            None => turn.base.with(&entry),
        };
        let next = Arc::new(next);
        turn.prove_entry(&next, &entry).await?;
        let engine = turn.engine.clone();
        let generation = turn.publish(next)?;
        let mut told = json!({
            "handler": name.as_str(),
            "old": serving.version,
            "new": entry.version,
            "generation": generation,
        });
        if let Some((percent, time)) = trial {
            let mut watch = engine.job("canary")?;
            watch.args = vec![name.to_string(), format!("{}ms", time.as_millis())];
            told["canary"] = json!({ "percent": percent.get(), "for_ms": u64::try_from(time.as_millis())?, "job": watch.id.to_string() });
            // Detached on purpose: the trial outlasts the job that began it, and `kill` ends it.
            drop(engine.spawn(watch));
        }
        Ok(told)
    }

    fn trial(&self, job: &Job) -> Result<Option<(Percent, Duration)>> {
        let Some(share) = job.env.get("CANARY") else { return Ok(None) };
        let percent = share.strip_suffix('%').unwrap_or(share).trim().parse().ok().and_then(Percent::new);
        let percent = percent.with_context(|| format!("CANARY={share:?}: wanted 1% to 99%"))?;
        let time = job.env.get("FOR").map(self.duration).transpose().context("FOR")?;
        Ok(Some((percent, time.unwrap_or(TRIAL))))
    }

    async fn compile(self: &Arc<Self>, name: Name, bytes: Vec<u8>) -> Result<Arc<Entry>> {
        let this = self.clone();
        // Compiling takes seconds and must not hold up the requests of this thread.
        let compiling = tokio::task::spawn_blocking(move || this.generations.loader.version(&name, bytes));
        compiling.await.map_err(|failure| anyhow!("compiling failed: {failure}"))?
    }
}
