//! `canary NAME`: watches a version on trial, then promotes it or goes back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::api::TrialCommand;
use super::generations::Generations;
use super::reply::tell;
use crate::catalog::{Judgement, TrialVersion};
use crate::engine::{Engine, NativeJob};
use crate::job::{Job, Name, Run};
use crate::net::Gate;

/// How often a trial is checked for what no request reports: that a request hangs, or that another change ended the
/// trial.
const TRIAL_CHECK: Duration = Duration::from_millis(100);

/// Watches trials that `swap` began. The request that settles a trial sets the verdict, and the version gets no more
/// requests from then on. This job then changes the catalog.
pub struct WatchTrial {
    /// Publishes catalogs.
    pub generations: Arc<Generations>,
    /// Reports a drain: a trial does not delay it.
    pub gate: Gate,
}

impl NativeJob for WatchTrial {
    fn run(self: Arc<Self>, engine: Arc<Engine>, job: Job) -> Run {
        Box::pin(async move {
            let outcome = self.watch(&engine, &job).await;
            tell(&job, outcome).await
        })
    }
}

impl WatchTrial {
    async fn watch(&self, engine: &Arc<Engine>, job: &Job) -> Result<String> {
        let TrialCommand { name } = TrialCommand::decode(&job.args)?;
        let tried = engine.live().pin().trials.get(&name).cloned();
        let tried = tried.with_context(|| format!("{name}: no version is on trial"))?;
        let trial = &tried.trial;
        let over = Instant::from_std(trial.end());
        loop {
            tokio::select! {
                _verdict = trial.judged() => break,
                () = sleep_until(over) => drop(trial.close()),
                () = sleep(TRIAL_CHECK) => trial.look(),
                () = self.gate.draining() => trial.go_back("the daemon is draining"),
            }
            if !engine.live().pin().has_on(&name, trial) {
                return Ok(ended_by_another(&name, &tried));
            }
        }
        self.conclude(engine, &name, &tried, trial.judged().await).await
    }

    /// Carries out the verdict, unless another change came first.
    async fn conclude(
        &self,
        engine: &Arc<Engine>,
        name: &Name,
        tried: &TrialVersion,
        verdict: &Judgement,
    ) -> Result<String> {
        let turn = match self.generations.turn(engine).await {
            Ok(turn) => turn,
            // The process that has taken over has no trial.
            Err(_) if self.generations.has_ended() => return Ok(ended_by_another(name, tried)),
            Err(failure) => return Err(failure),
        };
        let Some(serving) = turn.base.handlers.get(name).filter(|_| turn.base.has_on(name, &tried.trial))
        else {
            return Ok(ended_by_another(name, tried));
        };
        let (serving, version) = (serving.version.clone(), &tried.entry.version);
        match verdict {
            Judgement::Promote => {
                let next = turn.base.with(&tried.entry);
                turn.publish(next);
                info!("{name}: version {version} has passed its trial and replaces {serving}");
                self.generations.refresh_promoted(engine, &tried.entry).await;
                Ok(format!("{name}: promoted {version}"))
            }
            Judgement::GoBack(why) => {
                let next = turn.base.without_trial(name);
                turn.publish(next);
                warn!("{name}: version {version} has failed its trial, {serving} keeps serving: {why}");
                Ok(format!("{name}: went back to {serving}: {why}"))
            }
        }
    }
}

fn ended_by_another(name: &Name, tried: &TrialVersion) -> String {
    format!("{name}: the trial of {} was ended by another change", tried.entry.version)
}
