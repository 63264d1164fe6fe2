//! `canary NAME`: watches a version on trial, then promotes it or goes back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::api::CanaryCommand;
use super::generations::Generations;
use super::reply::tell;
use crate::catalog::{Canary, Judgement};
use crate::engine::{Engine, NativeJob};
use crate::job::{Job, Name, Run};
use crate::net::Gate;

/// How often a trial is checked for what no request reports: that a request hangs, or that another change ended the
/// trial.
const LOOK: Duration = Duration::from_millis(100);

/// Watches trials that `swap` began. The request that settles a trial sets the verdict, and the version gets no more
/// requests from then on. This job then changes the catalog.
pub struct WatchCanary {
    /// Publishes catalogs.
    pub generations: Arc<Generations>,
    /// Reports a drain: a trial does not delay it.
    pub gate: Gate,
}

impl NativeJob for WatchCanary {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let outcome = self.watch(&engine, &job).await;
            tell(&job, outcome).await
        })
    }
}

impl WatchCanary {
    async fn watch(&self, engine: &Arc<Engine>, job: &Job) -> Result<String> {
        let CanaryCommand { name } = CanaryCommand::decode(&job.args)?;
        let canary = engine.live().pin().canaries.get(&name).cloned();
        let canary = canary.with_context(|| format!("{name}: no version is on trial"))?;
        let trial = &canary.trial;
        let over = Instant::from_std(trial.end());
        loop {
            tokio::select! {
                _verdict = trial.judged() => break,
                () = sleep_until(over) => drop(trial.close()),
                () = sleep(LOOK) => trial.look(),
                () = self.gate.draining() => trial.go_back("the daemon is draining"),
            }
            if !engine.live().pin().has_on(&name, trial) {
                return Ok(ended_by_another(&name, &canary));
            }
        }
        self.conclude(engine, &name, &canary, trial.judged().await).await
    }

    /// Carries out the verdict, unless another change came first.
    async fn conclude(
        &self,
        engine: &Arc<Engine>,
        name: &Name,
        canary: &Canary,
        verdict: &Judgement,
    ) -> Result<String> {
        let turn = match self.generations.turn(engine).await {
            Ok(turn) => turn,
            // The process that has taken over has no trial.
            Err(_) if self.generations.has_ended() => return Ok(ended_by_another(name, canary)),
            Err(failure) => return Err(failure),
        };
        let Some(serving) = turn.base.handlers.get(name).filter(|_| turn.base.has_on(name, &canary.trial))
        else {
            return Ok(ended_by_another(name, canary));
        };
        let (serving, tried) = (serving.version.clone(), &canary.entry.version);
        match verdict {
            Judgement::Promote => {
                let next = turn.base.with(&canary.entry);
                turn.publish(next);
                info!("{name}: {tried} has stood its trial and serves instead of {serving}");
                // Secrets that changed during the trial were given only to the version that served.
                if let Err(failure) = self.generations.refresh(engine).await {
                    error!("{name}: {tried} keeps the secrets of its trial: {failure:#}");
                }
                Ok(format!("{name}: promoted {tried}"))
            }
            Judgement::GoBack(why) => {
                let next = turn.base.without_canary(name);
                turn.publish(next);
                warn!("{name}: {tried} has failed its trial, {serving} goes on: {why}");
                Ok(format!("{name}: went back to {serving}: {why}"))
            }
        }
    }
}

fn ended_by_another(name: &Name, canary: &Canary) -> String {
    format!("{name}: the trial of {} was ended by another change", canary.entry.version)
}
