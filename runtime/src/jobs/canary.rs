//! `canary NAME TIME`: watches a version on trial, then promotes it or goes back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::generations::Generations;
use super::tell::tell;
use crate::job::{Entry, Handler, Job, Name, Record, Run};
use crate::net::Gate;

/// How often the trial is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Failures that may be chance: a trial does not end before there are more.
const CHANCE: u64 = 3;

/// How much higher the failure rate of the version on trial may be, in percent of its requests.
const TOLERANCE: f64 = 1.0;

/// Watches trials that `swap` began.
pub struct WatchCanary {
    /// The road of the catalog.
    pub generations: Arc<Generations>,
    /// Reads a duration as the configuration does.
    pub duration: fn(&str) -> Result<Duration>,
    /// Tells when the daemon drains: a trial does not hold it up.
    pub gate: Gate,
}

/// Requests and scheduled runs that have ended since the trial began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tally {
    ended: u64,
    failed: u64,
}

/// What a trial has shown.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    Promote,
    GoBack(String),
}

impl Handler for WatchCanary {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            let outcome = self.watch(&job).await;
            tell(&job, outcome).await
        })
    }
}

impl WatchCanary {
    async fn watch(&self, job: &Job) -> Result<String> {
        let [name, time] = job.args.as_slice() else { anyhow::bail!("usage: canary NAME TIME") };
        let (name, time): (Name, _) = (name.parse()?, (self.duration)(time)?);
        let (serving, trial) = self.versions(&name).await?;
        let (serving_before, trial_before) = (Tally::of(&serving), Tally::of(&trial));
        let over = Instant::now() + time;
        let verdict = loop {
            let stopped = tokio::select! {
                () = sleep(LOOK.min(over - Instant::now())) => false,
                _reason = job.stop.raised() => true,
                () = self.gate.draining() => true,
            };
            if !self.is_on(&name, &trial).await? {
                return Ok(format!("{name}: the trial of {} was ended by another change", trial.version));
            }
            if stopped {
                break Verdict::GoBack("the trial was stopped".to_owned());
            }
            let serving = Tally::of(&serving).since(serving_before);
            let tried = Tally::of(&trial).since(trial_before);
            if let Some(verdict) = judge(serving, tried, Instant::now() >= over) {
                break verdict;
            }
        };
        self.conclude(&name, &serving, &trial, verdict).await
    }

    async fn versions(&self, name: &Name) -> Result<(Arc<Entry>, Arc<Entry>)> {
        let turn = self.generations.turn().await?;
        let trial = turn.base.canaries.get(name).map(|canary| canary.entry.clone());
        let serving = turn.base.handlers.get(name).cloned();
        serving.zip(trial).with_context(|| format!("{name}: no version is on trial"))
    }

    async fn is_on(&self, name: &Name, trial: &Arc<Entry>) -> Result<bool> {
        let turn = self.generations.turn().await?;
        Ok(turn.base.canaries.get(name).is_some_and(|canary| Arc::ptr_eq(&canary.entry, trial)))
    }

    async fn conclude(
        &self,
        name: &Name,
        serving: &Entry,
        trial: &Arc<Entry>,
        verdict: Verdict,
    ) -> Result<String> {
        let turn = self.generations.turn().await?;
        match verdict {
            Verdict::Promote => {
                let next = turn.base.with(trial);
                turn.publish(next)?;
                info!(
                    "{name}: {} has stood its trial and serves instead of {}",
                    trial.version, serving.version
                );
                Ok(format!("{name}: promoted {}", trial.version))
            }
            Verdict::GoBack(why) => {
                let next = turn.base.without_canary(name);
                turn.publish(next)?;
                warn!("{name}: {} has failed its trial, {} goes on: {why}", trial.version, serving.version);
                Ok(format!("{name}: went back to {}: {why}", serving.version))
            }
        }
    }
}

impl Tally {
    fn of(entry: &Entry) -> Tally {
        // A handler on a schedule may have no requests at all.
        let Record { requests, runs, .. } = &*entry.record;
        Tally { ended: requests.ended() + runs.ended(), failed: requests.failed() + runs.failed() }
    }

    fn since(self, before: Tally) -> Tally {
        Tally {
            ended: self.ended.saturating_sub(before.ended),
            failed: self.failed.saturating_sub(before.failed),
        }
    }

    /// Failures in a hundred requests.
    #[expect(clippy::cast_precision_loss, reason = "no trial has 2^52 requests")]
    fn rate(self) -> f64 {
        if self.ended == 0 { 0.0 } else { self.failed as f64 * 100.0 / self.ended as f64 }
    }
}

/// Judges a trial; none: it goes on.
fn judge(serving: Tally, tried: Tally, over: bool) -> Option<Verdict> {
    let worse = tried.rate() > serving.rate() + TOLERANCE;
    let told = || {
        format!(
            "{} of {} requests failed ({:.1} %), against {} of {} ({:.1} %)",
            tried.failed,
            tried.ended,
            tried.rate(),
            serving.failed,
            serving.ended,
            serving.rate()
        )
    };
    if worse && (over || tried.failed > CHANCE) {
        return Some(Verdict::GoBack(told()));
    }
    match (over, tried.ended) {
        (false, _) => None,
        (true, 0) => Some(Verdict::GoBack("no request reached it, so nothing is known of it".to_owned())),
        (true, _) => Some(Verdict::Promote),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(ended: u64, failed: u64) -> Tally {
        Tally { ended, failed }
    }

    #[test]
    fn a_version_that_fails_more_goes_back_before_the_time_is_over() {
        assert_eq!(judge(tally(100, 0), tally(3, 3), false), None);
        assert!(matches!(judge(tally(100, 0), tally(4, 4), false), Some(Verdict::GoBack(_))));
        assert!(matches!(judge(tally(100, 0), tally(2, 1), true), Some(Verdict::GoBack(_))));
    }

    #[test]
    fn a_version_that_fails_no_more_than_the_old_one_is_promoted_at_the_end() {
        assert_eq!(judge(tally(900, 90), tally(100, 10), false), None);
        assert_eq!(judge(tally(900, 90), tally(100, 10), true), Some(Verdict::Promote));
        assert_eq!(judge(tally(900, 0), tally(100, 1), true), Some(Verdict::Promote));
    }

    #[test]
    fn a_version_that_nobody_asked_is_not_promoted() {
        assert!(matches!(judge(tally(0, 0), tally(0, 0), true), Some(Verdict::GoBack(_))));
    }
}
