//! A trial: how the requests of two versions of a handler end, and the verdict, which the request gives that settles it.

mod arm;
mod histogram;
mod judgement;

pub use judgement::{Judgement, Rules};

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::job::Usage;
use arm::{Arm, Wait};
use judgement::{CHANCE, Evidence};

/// How many times the 99th percentile of the version beside it a client may wait that is not taken for one
/// that hangs, where times are not compared.
const PATIENCE: u32 = 4;

/// A version on trial beside the one that serves. One request is counted in a few atomics, and noted while its client waits.
pub struct Trial {
    /// What the version has to show.
    pub rules: Rules,
    begun: Instant,
    serving: Arm,
    tried: Arm,
    /// Microseconds that an answer may take without being looked at: the bound as it was known last.
    bound: AtomicU64,
    verdict: OnceLock<Judgement>,
    judged: Notify,
}

/// Which of the two versions answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    Serving,
    Tried,
}

/// One request during a trial, which says at its end what it has shown. Dropped without an end, it is one whose
/// client has left.
pub struct Ballot {
    trial: Arc<Trial>,
    which: Which,
    wait: Option<Awaited>,
    /// What the job that answers has used.
    usage: Option<Arc<Usage>>,
    /// For how long the version has kept the client waiting; `None`: nobody waits for it.
    waited: Option<Duration>,
    /// Whether the head of an answer was given.
    headed: bool,
}

/// A wait that goes on.
enum Awaited {
    /// For a head: its number among them.
    Head(u64, Wait),
    /// For more of a body, which says nothing before its end.
    More(Wait),
}

/// What a trial has shown so far.
#[derive(Clone, Copy, Debug)]
pub struct Showing {
    /// Requests that the version has answered.
    pub answered: u64,
    /// Requests that it has failed.
    pub failed: u64,
    /// The time that all but one in a hundred of its answers are within.
    pub p99: Option<Duration>,
    /// That of the version beside it.
    pub p99_beside: Option<Duration>,
}

impl Trial {
    /// Begins a trial.
    pub(super) fn new(rules: Rules) -> Trial {
        Trial {
            rules,
            begun: Instant::now(),
            serving: Arm::default(),
            tried: Arm::default(),
            bound: AtomicU64::new(u64::MAX),
            verdict: OnceLock::new(),
            judged: Notify::new(),
        }
    }

    /// Returns when its time is over.
    pub fn end(&self) -> Instant {
        // A year at most (config::duration), which no clock overflows with.
        self.begun + self.rules.time
    }

    /// Returns the verdict, once there is one.
    pub fn verdict(&self) -> Option<&Judgement> {
        self.verdict.get()
    }

    /// Waits for the verdict.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn judged(&self) -> &Judgement {
        loop {
            // Registered before the look, so that a verdict in between is not missed.
            let judged = self.judged.notified();
            if let Some(verdict) = self.verdict.get() {
                return verdict;
            }
            judged.await;
        }
    }

    /// Judges what is known, with what only the passing of time makes known.
    pub fn look(&self) {
        self.judge(false);
    }

    /// Ends the trial, whose time is over, by what is known. Returns the verdict.
    pub fn close(&self) -> &Judgement {
        self.judge(true);
        self.verdict.get_or_init(|| Judgement::GoBack("its time was over".to_owned()))
    }

    /// Has the version fail, for a reason that is not in its answers. An earlier verdict stays.
    pub fn go_back(&self, why: &str) {
        self.settle(Judgement::GoBack(why.to_owned()));
    }

    /// Says how the version does.
    pub fn standing(&self) -> Showing {
        let tried = self.evidence().tried;
        Showing {
            answered: tried.answered,
            failed: tried.failed,
            p99: self.tried.answered.p99(),
            p99_beside: self.serving.answered.p99(),
        }
    }

    fn evidence(&self) -> Evidence {
        let Trial { rules, serving, tried, .. } = self;
        let enough = serving.answered.count() >= rules.requests;
        let beside = serving.answered.p99().filter(|_| enough);
        let bound = rules.bound(beside);
        let known = bound.map_or(u64::MAX, |bound| u64::try_from(bound.as_micros()).unwrap_or(u64::MAX));
        self.bound.store(known, Ordering::Relaxed);
        let patient = Rules { slower: rules.slower.or(Some(PATIENCE)), ..*rules };
        let patience = bound.or_else(|| patient.bound(beside.or_else(|| tried.answered.p99())));
        let score = |arm: &Arm| arm.score(patience);
        Evidence { serving: score(serving), tried: score(tried), bound }
    }

    fn judge(&self, over: bool) {
        if self.verdict.get().is_none()
            && let Some(verdict) = self.rules.judge(self.evidence(), over)
        {
            self.settle(verdict);
        }
    }

    fn settle(&self, verdict: Judgement) {
        if self.verdict.set(verdict).is_ok() {
            self.judged.notify_waiters();
        }
    }

    fn arm(&self, which: Which) -> &Arm {
        match which {
            Which::Serving => &self.serving,
            Which::Tried => &self.tried,
        }
    }
}

impl Ballot {
    pub(super) fn new(trial: Arc<Trial>, which: Which) -> Ballot {
        trial.arm(which).asked.fetch_add(1, Ordering::Relaxed);
        Ballot { trial, which, wait: None, usage: None, waited: None, headed: false }
    }

    /// Notes that a client waits for the version, which answers by a job that has used this. What the job waits for
    /// the client is not the version's time.
    pub fn begins(&mut self, usage: &Arc<Usage>) {
        self.usage = Some(usage.clone());
        self.awaits();
    }

    /// Notes that a client waits for the version.
    pub fn awaits(&mut self) {
        if self.wait.is_some() {
            return;
        }
        let wait = Wait::begin(self.usage.clone());
        self.wait = Some(match self.headed {
            true => Awaited::More(wait),
            false => Awaited::Head(self.trial.arm(self.which).heads.begin(wait.clone()), wait),
        });
        self.waited.get_or_insert_default();
    }

    /// Notes that the version has given what its client waited for: the head, or more of the body.
    pub fn handed(&mut self) {
        let wait = self.wait.take().map(|awaited| match awaited {
            Awaited::Head(number, wait) => {
                self.trial.arm(self.which).heads.end(number);
                wait
            }
            Awaited::More(wait) => wait,
        });
        if let Some(wait) = wait {
            *self.waited.get_or_insert_default() += wait.time();
        }
        self.headed = true;
    }

    /// Counts an answer that is whole.
    pub fn answered(mut self) {
        self.handed();
        let arm = self.trial.arm(self.which);
        match self.waited.take() {
            Some(waited) => {
                arm.answered.note(waited);
                let late = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX)
                    > self.trial.bound.load(Ordering::Relaxed);
                if late && self.which == Which::Tried {
                    self.trial.judge(false);
                }
            }
            None => {
                arm.ran.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts a failure of the version.
    pub fn failed(mut self) {
        self.handed();
        self.waited = None;
        let failed = self.trial.arm(self.which).failed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.which == Which::Tried && failed > CHANCE {
            self.trial.judge(false);
        }
    }

    /// Counts nothing: what ended the request tells nothing of the version.
    pub fn withdrawn(mut self) {
        self.handed();
        self.waited = None;
    }
}

/// The client has left. If it waited for a head then, how long it did is what is known; one that leaves a body that goes
/// on says nothing.
impl Drop for Ballot {
    fn drop(&mut self) {
        let waited_for = matches!(self.wait, Some(Awaited::Head(..)));
        self.handed();
        if let Some(waited) = self.waited.filter(|_| waited_for) {
            self.trial.arm(self.which).left.note(waited);
            if self.which == Which::Tried {
                self.trial.judge(false);
            }
        }
    }
}

#[cfg(test)]
mod tests;
