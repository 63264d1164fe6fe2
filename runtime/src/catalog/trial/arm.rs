//! The counters of one version during a trial.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::histogram::Histogram;
use crate::job::Usage;

/// The counters of one version. Each request increments only a few of them.
#[derive(Default)]
pub(super) struct Arm {
    /// Requests and runs assigned to the version.
    pub(super) asked: AtomicU64,
    /// How long clients waited for complete responses.
    pub(super) answered: Histogram,
    /// How long clients waited that left before a response.
    pub(super) left: Histogram,
    /// Requests and runs that failed because of the version.
    pub(super) failed: AtomicU64,
    /// Runs without a client that succeeded.
    pub(super) ran: AtomicU64,
    /// Clients that are waiting for the head of a response.
    pub(super) heads: WaitShards,
}

/// The waits in progress, in several shards so that threads rarely contend for one lock.
#[derive(Default)]
pub(super) struct WaitShards {
    next: AtomicU64,
    parts: [Mutex<HashMap<u64, ClientWait>>; 16],
}

/// The wait of a client for a version.
#[derive(Clone)]
pub(super) struct ClientWait {
    pub(super) since: Instant,
    /// The usage of the job that answers; `None` if there is no job.
    usage: Option<Arc<Usage>>,
    /// How long the job had waited for its client when this wait began.
    before: Duration,
}

/// The counters of one version, compared with a time limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Score {
    /// Requests and runs assigned to the version.
    pub(super) asked: u64,
    /// Requests and runs that were answered completely.
    pub(super) answered: u64,
    /// Requests and runs that failed, including clients that left after the limit.
    pub(super) failed: u64,
    /// Clients that have waited for a head for longer than the limit.
    pub(super) hung: u64,
    /// Responses, and waits for a head in progress, that took longer than the limit.
    pub(super) slow: u64,
}

/// A part of a total.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fraction {
    pub(super) count: u64,
    pub(super) all: u64,
}

impl Arm {
    /// Evaluates the counters against a time limit. Without a limit nothing is late.
    pub(super) fn score(&self, bound: Option<Duration>) -> Score {
        let late = |times: &Histogram| bound.map_or(0, |bound| times.beyond(bound));
        let hung = bound.map_or(0, |bound| self.heads.longer(bound));
        let answered = self.answered.count() + self.ran.load(Ordering::Relaxed);
        Score {
            asked: self.asked.load(Ordering::Relaxed),
            answered,
            failed: self.failed.load(Ordering::Relaxed) + late(&self.left),
            hung,
            slow: late(&self.answered) + hung,
        }
    }
}

impl Score {
    /// Counts clients that still wait beyond the limit as failures: the trial ends without another result for them.
    pub(super) fn at_the_end(self) -> Score {
        Score { failed: self.failed + self.hung, ..self }
    }

    /// Returns the failures among the requests with a known outcome.
    pub(super) fn failures(self) -> Fraction {
        Fraction { count: self.failed, all: self.answered + self.failed }
    }

    /// Returns the slow responses among the requests with a known time.
    pub(super) fn delays(self) -> Fraction {
        Fraction { count: self.slow, all: self.answered + self.hung }
    }
}

impl Fraction {
    /// Returns the share in percent.
    #[expect(clippy::cast_precision_loss, reason = "no trial has 2^52 requests")]
    pub(super) fn percent(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.count as f64 * 100.0 / self.all as f64 }
    }

    /// Reports whether this share exceeds that of the other version by more than `tolerance` percentage points and
    /// three standard deviations. At equal rates, chance hardly ever makes such a difference.
    #[expect(clippy::cast_precision_loss, reason = "no trial has 2^52 requests")]
    pub(super) fn exceeds(self, beside: Fraction, tolerance: f64) -> bool {
        let (percent, all) = (beside.percent(), self.all as f64);
        let chance = 3.0 * (percent * all / 100.0).sqrt();
        self.count as f64 * 100.0 > (percent + tolerance) * all + chance * 100.0
    }
}

impl WaitShards {
    /// Records a wait, and returns its number.
    pub(super) fn begin(&self, wait: ClientWait) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.part(number).insert(number, wait);
        number
    }

    pub(super) fn end(&self, number: u64) {
        self.part(number).remove(&number);
    }

    /// Counts the waits longer than `bound`.
    fn longer(&self, bound: Duration) -> u64 {
        let parts = self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner));
        parts.map(|part| part.values().filter(|wait| wait.time() > bound).count() as u64).sum()
    }

    fn part(&self, number: u64) -> MutexGuard<'_, HashMap<u64, ClientWait>> {
        let part = usize::try_from(number % self.parts.len() as u64).unwrap_or_default();
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientWait {
    /// Starts a wait for a job with this usage.
    pub(super) fn begin(usage: Option<Arc<Usage>>) -> ClientWait {
        let before = usage.as_ref().map(|usage| usage.waits.sum()).unwrap_or_default();
        ClientWait { since: Instant::now(), usage, before }
    }

    /// Returns how long the version has kept its client waiting. Time in which the job waited for the client is
    /// subtracted.
    pub(super) fn time(&self) -> Duration {
        let clients = self.usage.as_ref().map(|usage| usage.waits.sum()).unwrap_or_default();
        self.since.elapsed().saturating_sub(clients.saturating_sub(self.before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::FromClient;

    const SECOND: Duration = Duration::from_secs(1);

    fn begun(before: Duration, usage: Option<Arc<Usage>>) -> ClientWait {
        ClientWait { since: Instant::now().checked_sub(before).unwrap(), ..ClientWait::begin(usage) }
    }

    #[test]
    fn a_wait_counts_once_it_is_longer_than_the_bound_and_until_it_ends() {
        let arm = Arm::default();
        let number = arm.heads.begin(begun(SECOND * 10, None));
        arm.heads.begin(begun(SECOND, None));
        let hung = |bound| arm.score(Some(SECOND * bound)).hung;

        assert_eq!([20, 5].map(hung), [0, 1]);
        arm.heads.end(number);
        assert_eq!(hung(5), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_job_waits_for_its_client_is_not_the_versions_time() {
        let usage = Arc::new(Usage::default());
        let wait = ClientWait::begin(Some(usage.clone()));
        usage.waits.begin(FromClient::Input);
        tokio::time::advance(SECOND).await;
        let uploading = wait.time();
        usage.waits.end(FromClient::Input);
        tokio::time::advance(SECOND * 2).await;

        assert_eq!((uploading, wait.time()), (Duration::ZERO, SECOND * 2));
    }

    #[test]
    fn without_a_bound_nothing_is_late() {
        let arm = Arm::default();
        arm.answered.note(SECOND * 256);
        arm.left.note(SECOND * 256);
        arm.heads.begin(begun(SECOND * 10, None));

        assert_eq!(arm.score(None), Score { answered: 1, ..Score::default() });
        let late = arm.score(Some(SECOND));
        assert_eq!(late, Score { answered: 1, failed: 1, hung: 1, slow: 2, ..Score::default() });
        assert_eq!(late.at_the_end().failed, 2);
    }
}
