//! `swap NAME`: replaces a handler's module by the one on stdin, at once or after a trial.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use tracing::{error, warn};

use super::generations::{Generations, Turn};
use super::load::Uploaded;
use super::tell::tell;
use crate::catalog::{Catalog, Percent, Rules, Trial};
use crate::engine::{Engine, Failure};
use crate::job::{Entry, Env, Fault, Handler, Job, Name, Run, Stay, builtin};

/// How long a trial lasts, if the job does not say.
const TIME: Duration = Duration::from_secs(60);

/// How many requests a version on trial has to answer, if the job does not say.
const REQUESTS: u64 = 20;

/// How many times the 99th percentile of the version beside it a version on trial may take, if the job does not say.
const SLOWER: u32 = 4;

/// Swaps in new versions.
///
/// `CANARY` in the environment (`10` or `10%`) puts the new version on trial with that share of the
/// requests. `FOR` (`60s`), `REQUESTS` (`20`) and `SLOWER` (`4`, or `none`) say what it has to stand there. The job
/// `canary` then promotes it or goes back.
pub struct Swap {
    /// The road of the catalog.
    pub generations: Arc<Generations>,
    /// Reads a duration as the configuration does.
    pub duration: fn(&str) -> Result<Duration>,
}

impl Swap {
    /// How many requests a trial may want answered.
    pub const REQUESTS: RangeInclusive<u64> = 1..=1_000_000_000;

    /// How many times as long a version on trial may be let take.
    pub const SLOWER: RangeInclusive<u32> = 1..=1000;

    /// Reads the share of a trial: `10` or `10%`; `None`: it is not 1 to 99.
    pub fn percent(share: &str) -> Option<Percent> {
        Percent::new(share.strip_suffix('%').unwrap_or(share).trim().parse().ok()?)
    }
}

/// A swap that is prepared: all that can fail has succeeded. Dropping it changes nothing.
struct Prepared<'a> {
    turn: Turn<'a>,
    serving: Arc<Entry>,
    entry: Arc<Entry>,
    /// The trial, and the job that watches it; `None`: the new version serves at once.
    trial: Option<(Conditions, Job)>,
}

/// A trial as it is asked for.
#[derive(Clone, Copy)]
struct Conditions {
    percent: Percent,
    rules: Rules,
}

impl Handler for Swap {
    fn run(self: Arc<Self>, mut job: Job) -> Run {
        Box::pin(async move {
            let told = match job.stdin.read_to_end(self.generations.loader.limits().module).await {
                Ok(bytes) => self.prepare(&job, bytes).await.map(|ready| ready.publish(&self.generations)),
                Err(Fault::InputTooLarge(most)) => Err(anyhow!(
                    "the uploaded module has more than {most} bytes: raise compile.module, or strip its debug information"
                )),
                Err(fault) => return Err(fault),
            };
            self.generations.tidy().await;
            tell(&job, told.map(|told| told.to_string())).await
        })
    }

    fn stay(&self) -> Stay {
        Stay::Change
    }
}

impl Swap {
    async fn prepare(self: &Arc<Self>, job: &Job, bytes: Vec<u8>) -> Result<Prepared<'_>> {
        let [name] = job.args.as_slice() else { bail!("usage: swap NAME < MODULE") };
        let name: Name = name.parse()?;
        let wanted = self.wanted(&job.env)?;
        let module = self.compile(name.clone(), bytes).await?;
        let turn = self.generations.turn().await?;
        let Some(serving) = turn.base.handlers.get(&name).cloned() else {
            bail!("there is no handler {:?}: a swap replaces one that serves", name.as_str());
        };
        // Under the settings that are in force now: a reload may have come between.
        let entry = tokio::task::block_in_place(|| self.generations.loader.version(&name, module))?;
        let proving = Arc::new(turn.base.with(&entry));
        turn.prove_entry(&proving, &entry, self.generations.loader.probe(&name)).await?;
        let trial = wanted.map(|wanted| Ok::<_, anyhow::Error>((wanted, watch(&turn.engine, &name)?)));
        let trial = trial.transpose()?;
        Ok(Prepared { turn, serving, entry, trial })
    }

    fn wanted(&self, env: &Env) -> Result<Option<Conditions>> {
        let Some(share) = env.get("CANARY") else {
            // Without one there is nothing that they could mean.
            if let Some(key) = ["FOR", "REQUESTS", "SLOWER"].into_iter().find(|key| env.get(key).is_some()) {
                bail!("{key} is about a trial: set CANARY as well, or leave it out");
            }
            return Ok(None);
        };
        let percent = Swap::percent(share).with_context(|| format!("CANARY={share:?}: wanted 1% to 99%"))?;
        let time = env.get("FOR").map(self.duration).transpose().context("FOR")?.unwrap_or(TIME);
        let requests = number(env, "REQUESTS", Swap::REQUESTS)?.unwrap_or(REQUESTS);
        let slower = match env.get("SLOWER") {
            Some("none") => None,
            _ => Some(number(env, "SLOWER", Swap::SLOWER).context("or \"none\"")?.unwrap_or(SLOWER)),
        };
        Ok(Some(Conditions { percent, rules: Rules { time, requests, slower } }))
    }

    async fn compile(self: &Arc<Self>, name: Name, bytes: Vec<u8>) -> Result<Uploaded> {
        let this = self.clone();
        // Compiling takes seconds and must not hold up the requests of this thread.
        let compiling = tokio::task::spawn_blocking(move || this.generations.loader.compile(&name, bytes));
        compiling.await.map_err(|failure| anyhow!("compiling failed: {failure}"))?
    }
}

/// Reads a whole number of the environment.
fn number<T: FromStr + PartialOrd + std::fmt::Display>(
    env: &Env,
    key: &str,
    range: RangeInclusive<T>,
) -> Result<Option<T>> {
    let Some(text) = env.get(key) else { return Ok(None) };
    let read = text.parse().ok().filter(|number| range.contains(number));
    let wanted =
        || format!("{key}={text:?}: wanted a whole number from {} to {}", range.start(), range.end());
    read.map(Some).with_context(wanted)
}

/// Makes the job that watches the trial of a handler.
fn watch(engine: &Arc<Engine>, name: &Name) -> Result<Job> {
    let mut watch = engine.job(builtin::CANARY)?;
    watch.args = vec![name.to_string()];
    Ok(watch)
}

impl Prepared<'_> {
    /// Puts it into force and says what serves now, as JSON. Nothing in it can fail.
    fn publish(self, generations: &Arc<Generations>) -> Value {
        let Prepared { turn, serving, entry, trial } = self;
        let name = entry.name.clone();
        let mut told = json!({
            "handler": name.as_str(),
            "old": serving.version,
            "new": entry.version,
        });
        let Some((Conditions { percent, rules }, watch)) = trial else {
            let next = turn.base.with(&entry);
            told["generation"] = turn.publish(next).into();
            return told;
        };
        told["canary"] = json!({
            "percent": percent.get(),
            "for_ms": super::describe::millis(rules.time),
            "requests": rules.requests,
            "slower": rules.slower,
            "job": watch.id.to_string(),
        });
        let next: Catalog = turn.base.with_canary(entry, percent, rules);
        let trial = next.canaries[&name].trial.clone();
        let engine = turn.engine.clone();
        told["generation"] = turn.publish(next).into();
        let watched = watched(generations.clone(), engine, watch, name, trial);
        // Detached on purpose: the trial outlasts the job that began it, and `kill` ends it.
        drop(tokio::spawn(watched));
        told
    }
}

/// Has a trial watched. However its watch ends, the trial does not go on without one.
async fn watched(
    generations: Arc<Generations>,
    engine: Arc<Engine>,
    watch: Job,
    name: Name,
    trial: Arc<Trial>,
) {
    let ended = engine.spawn(watch).await;
    // What ends with the process is no fault of its watch.
    if generations.has_ended() || !generations.is_on(&name, &trial) {
        return;
    }
    let was_killed = matches!(ended, Ok(Err(Failure::Fault(Fault::Stopped(_)))));
    // Requests take this up at once, whoever has the turn.
    trial.go_back(if was_killed { "the trial was stopped" } else { "its watch has ended" });
    if let Ok(turn) = generations.turn().await
        && turn.base.has_on(&name, &trial)
    {
        let next = turn.base.without_canary(&name);
        turn.publish(next);
    }
    let why = match ended {
        Ok(Ok(())) => "it ended by itself".to_owned(),
        Ok(Err(failure)) => failure.to_string(),
        Err(failure) => failure.to_string(),
    };
    if was_killed {
        warn!("{name}: the trial was stopped, the version that served goes on: {why}");
    } else {
        error!("{name}: nobody watches the trial any more, the version that served goes on: {why}");
    }
}
