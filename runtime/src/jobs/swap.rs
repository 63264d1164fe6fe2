//! `swap NAME`: replaces a handler's module by the one on stdin, at once or after a trial.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use tracing::{error, warn};

use super::api::{BegunTrial, Command as _, SwapCommand, SwapReply, TrialCommand};
use super::describe::millis;
use super::generations::{Generations, Publisher};
use super::load::Uploaded;
use super::reply::reply;
use crate::catalog::{Catalog, Percent, Rules, Trial};
use crate::engine::{DaemonJobError, Engine, NativeJob};
use crate::job::{Fault, HandlerVersion, Job, Name, Run};

/// Swaps in a new version, at once or after a trial that the job `canary` watches.
pub struct Swap {
    /// Publishes catalogs.
    pub generations: Arc<Generations>,
}

/// A swap that is ready: all that can fail has succeeded. Dropping it changes nothing.
struct PreparedSwap<'a> {
    turn: Publisher<'a>,
    serving: Arc<HandlerVersion>,
    entry: Arc<HandlerVersion>,
    /// The trial and the job that watches it, or `None` if the new version is to serve at once.
    trial: Option<(Percent, Rules, Job)>,
}

impl NativeJob for Swap {
    fn run(self: Arc<Self>, engine: Arc<Engine>, mut job: Job) -> Run {
        Box::pin(async move {
            let outcome = match job.stdin.read_to_end(self.generations.loader.limits().module).await {
                Ok(bytes) => {
                    let ready = self.prepare(&engine, &job, bytes).await;
                    ready.map(|ready| ready.publish(&self.generations))
                }
                Err(Fault::InputTooLarge(max)) => Err(anyhow!(
                    "the uploaded module has more than {max} bytes: raise compile.module, or strip its debug information"
                )),
                Err(fault) => return Err(fault),
            };
            self.generations.tidy().await;
            reply::<SwapCommand>(&job, outcome).await
        })
    }
}

impl Swap {
    async fn prepare(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        job: &Job,
        bytes: Vec<u8>,
    ) -> Result<PreparedSwap<'_>> {
        let SwapCommand { name, trial } = SwapCommand::decode(&job.args, &job.env)?;
        let module = self.compile(name.clone(), bytes).await?;
        let turn = self.generations.turn(engine).await?;
        let Some(serving) = turn.base.handlers.get(&name).cloned() else {
            bail!("there is no handler {:?}: a swap replaces one that serves", name.as_str());
        };
        // Uses the current settings: a reload may have changed them meanwhile.
        let entry = tokio::task::block_in_place(|| self.generations.loader.version(&name, module))?;
        let proving = Arc::new(turn.base.with(&entry));
        turn.check_places(&proving, &entry)?;
        turn.prove_entry(&proving, &entry, self.generations.loader.probe(&name)).await?;
        let trial = match trial {
            Some(trial) => {
                let mut watch = TrialCommand { name: name.clone() }.job(engine)?;
                // Nobody reads its response, which is the verdict.
                engine.log_stdout(&mut watch);
                Some((trial.percent, trial.rules(), watch))
            }
            None => None,
        };
        Ok(PreparedSwap { turn, serving, entry, trial })
    }

    async fn compile(self: &Arc<Self>, name: Name, bytes: Vec<u8>) -> Result<Uploaded> {
        let this = self.clone();
        // Compiling takes seconds and must not block the requests of this thread.
        let compiling = tokio::task::spawn_blocking(move || this.generations.loader.compile(&name, bytes));
        compiling.await.map_err(|failure| anyhow!("compiling failed: {failure}"))?
    }
}

impl PreparedSwap<'_> {
    /// Publishes the version and describes what serves now. Cannot fail.
    fn publish(self, generations: &Arc<Generations>) -> SwapReply {
        let PreparedSwap { turn, serving, entry, trial } = self;
        let name = entry.name.clone();
        let (old, new) = (serving.version.clone(), entry.version.clone());
        let Some((percent, rules, watch)) = trial else {
            let next = turn.base.with(&entry);
            let generation = turn.publish(next);
            return SwapReply { handler: name.to_string(), old, new, canary: None, generation };
        };
        let begun = BegunTrial {
            percent: percent.get(),
            for_ms: millis(rules.time),
            requests: rules.requests,
            slower: rules.slower,
            job: watch.id.to_string(),
        };
        let next: Catalog = turn.base.with_trial(entry, percent, rules);
        let trial = next.trials[&name].trial.clone();
        let engine = turn.engine.clone();
        let generation = turn.publish(next);
        let handler = name.to_string();
        let watched = watched(generations.clone(), engine, watch, name, trial);
        // Detached on purpose: the trial outlasts the job that began it, and `kill` ends it.
        drop(tokio::spawn(watched));
        SwapReply { handler, old, new, canary: Some(begun), generation }
    }
}

/// Runs the job that watches a trial. If that job ends before the trial does, ends the trial.
async fn watched(
    generations: Arc<Generations>,
    engine: Arc<Engine>,
    watch: Job,
    name: Name,
    trial: Arc<Trial>,
) {
    let ended = engine.spawn(watch).await;
    // At the end of the process, or if the trial is over, there is nothing to do.
    if generations.has_ended() || !engine.live().pin().has_on(&name, &trial) {
        return;
    }
    let was_killed = matches!(ended, Ok(Err(DaemonJobError::Fault(Fault::Stopped(_)))));
    // Requests obey this at once, even while another change is in progress.
    trial.go_back(if was_killed {
        "the trial was stopped"
    } else {
        "the job that watches the trial has ended"
    });
    if let Ok(turn) = generations.turn(&engine).await
        && turn.base.has_on(&name, &trial)
    {
        let next = turn.base.without_trial(&name);
        turn.publish(next);
    }
    let why = match ended {
        Ok(Ok(())) => "the job ended without a verdict".to_owned(),
        Ok(Err(failure)) => failure.to_string(),
        Err(failure) => failure.to_string(),
    };
    if was_killed {
        warn!("{name}: the trial was stopped, the previous version keeps serving: {why}");
    } else {
        error!("{name}: the job that watches the trial has ended, the previous version keeps serving: {why}");
    }
}
