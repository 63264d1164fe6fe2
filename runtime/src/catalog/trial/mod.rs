//! A trial of two versions of a handler: it records how their requests end and reaches a verdict.
//!
//! Floors, lowest first: `histogram`; `arm`; `judgement`.

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
use arm::{Arm, ClientWait};
use judgement::{CHANCE, Evidence};

/// The limit on a client's wait where times are not compared, as a multiple of the 99th percentile of the other
/// version, or else of its own. A longer wait counts as hanging.
const WAIT_MULTIPLE: u32 = 4;

/// The trial of a version beside the serving version. A request costs a few atomics, and an entry while its client
/// waits.
pub struct Trial {
    /// The requirements on the version.
    pub rules: Rules,
    begun: Instant,
    serving: Arm,
    tried: Arm,
    /// Responses within this time, in microseconds, need no judging: the time limit as last computed.
    bound: AtomicU64,
    verdict: OnceLock<Judgement>,
    judged: Notify,
}

/// The version that a request is assigned to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AssignedVersion {
    Serving,
    Tried,
}

/// A request during a trial; its end is recorded. If dropped before an end, the client has left.
pub struct Ballot {
    trial: Arc<Trial>,
    which: AssignedVersion,
    wait: Option<Awaited>,
    /// The usage of the job that answers.
    usage: Option<Arc<Usage>>,
    /// How long the version has kept the client waiting so far. `None` if no client has waited yet.
    waited: Option<Duration>,
    /// Whether the head of a response was handed over.
    headed: bool,
}

/// A wait in progress.
enum Awaited {
    /// For the head: its number among the waits.
    Head(u64, ClientWait),
    /// For more of the body; such a wait counts only once it ends.
    More(ClientWait),
}

/// The results of a trial so far.
#[derive(Clone, Copy, Debug)]
pub struct TrialResults {
    /// Requests that the version answered.
    pub answered: u64,
    /// Requests that the version failed.
    pub failed: u64,
    /// The 99th percentile of its response times.
    pub p99: Option<Duration>,
    /// The 99th percentile of the other version.
    pub p99_beside: Option<Duration>,
}

impl Trial {
    /// Starts a trial.
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

    /// Returns when the trial's time is over.
    pub fn end(&self) -> Instant {
        // The time is at most a year (config::duration), so the sum does not overflow.
        self.begun + self.rules.time
    }

    /// Returns the verdict, or `None` while the trial runs.
    pub fn verdict(&self) -> Option<&Judgement> {
        self.verdict.get()
    }

    /// Waits for the verdict.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn judged(&self) -> &Judgement {
        loop {
            // Registered before the check, so a verdict in between is not missed.
            let judged = self.judged.notified();
            if let Some(verdict) = self.verdict.get() {
                return verdict;
            }
            judged.await;
        }
    }

    /// Judges the results so far, including those that only the passing of time reveals.
    pub fn look(&self) {
        self.judge(false);
    }

    /// Ends the trial when its time is over, and returns the verdict.
    pub fn close(&self) -> &Judgement {
        self.judge(true);
        self.verdict.get_or_init(|| Judgement::GoBack("the trial ended without a verdict".to_owned()))
    }

    /// Fails the version for a reason other than its responses. An earlier verdict stays.
    pub fn go_back(&self, why: &str) {
        self.settle(Judgement::GoBack(why.to_owned()));
    }

    /// Returns the results so far.
    pub fn results(&self) -> TrialResults {
        let tried = self.evidence().tried;
        TrialResults {
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
        let patient = Rules { slower: rules.slower.or(Some(WAIT_MULTIPLE)), ..*rules };
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

    fn arm(&self, which: AssignedVersion) -> &Arm {
        match which {
            AssignedVersion::Serving => &self.serving,
            AssignedVersion::Tried => &self.tried,
        }
    }
}

impl Ballot {
    pub(super) fn new(trial: Arc<Trial>, which: AssignedVersion) -> Ballot {
        trial.arm(which).asked.fetch_add(1, Ordering::Relaxed);
        Ballot { trial, which, wait: None, usage: None, waited: None, headed: false }
    }

    /// Records that a client waits for the version, which answers by a job with this usage. Time in which the job
    /// waits for the client does not count.
    pub fn begins(&mut self, usage: &Arc<Usage>) {
        self.usage = Some(usage.clone());
        self.awaits();
    }

    /// Records that a client waits for the version.
    pub fn awaits(&mut self) {
        if self.wait.is_some() {
            return;
        }
        let wait = ClientWait::begin(self.usage.clone());
        self.wait = Some(match self.headed {
            true => Awaited::More(wait),
            false => Awaited::Head(self.trial.arm(self.which).heads.begin(wait.clone()), wait),
        });
        self.waited.get_or_insert_default();
    }

    /// Records that the client got what it waited for: the head, or more of the body.
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

    /// Counts a complete response, or a successful run without a client.
    pub fn answered(mut self) {
        self.handed();
        let arm = self.trial.arm(self.which);
        match self.waited.take() {
            Some(waited) => {
                arm.answered.note(waited);
                let late = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX)
                    > self.trial.bound.load(Ordering::Relaxed);
                if late && self.which == AssignedVersion::Tried {
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
        if self.which == AssignedVersion::Tried && failed > CHANCE {
            self.trial.judge(false);
        }
    }

    /// Counts nothing: the end of the request says nothing about the version.
    pub fn withdrawn(mut self) {
        self.handed();
        self.waited = None;
    }
}

/// The client has left. If it was waiting for the head, its waiting time is recorded. Leaving during a body says
/// nothing about the version.
impl Drop for Ballot {
    fn drop(&mut self) {
        let waited_for = matches!(self.wait, Some(Awaited::Head(..)));
        self.handed();
        if let Some(waited) = self.waited.filter(|_| waited_for) {
            self.trial.arm(self.which).left.note(waited);
            if self.which == AssignedVersion::Tried {
                self.trial.judge(false);
            }
        }
    }
}

#[cfg(test)]
mod tests;
