//! What is counted of one version during a trial.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::histogram::Histogram;
use crate::job::Usage;

/// The counters of one version. Each request adds to few of them.
#[derive(Default)]
pub(super) struct Arm {
    /// Requests and runs that the version was asked for.
    pub(super) asked: AtomicU64,
    /// For how long whole answers kept their clients waiting.
    pub(super) answered: Histogram,
    /// For how long clients were kept waiting that have left.
    pub(super) left: Histogram,
    /// Requests and runs that the version failed.
    pub(super) failed: AtomicU64,
    /// Runs without a client that went well.
    pub(super) ran: AtomicU64,
    /// Clients that wait for the head of an answer.
    pub(super) heads: Waits,
}

/// The waits that go on, in several parts so that cores seldom meet at one lock.
#[derive(Default)]
pub(super) struct Waits {
    next: AtomicU64,
    parts: [Mutex<HashMap<u64, Wait>>; 16],
}

/// The wait of a client for a version.
#[derive(Clone)]
pub(super) struct Wait {
    pub(super) since: Instant,
    /// What the job behind it has used; `None`: there is none.
    usage: Option<Arc<Usage>>,
    /// For how long the job had waited for its client by then.
    before: Duration,
}

/// What the counters of one version come to, against a bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Score {
    /// Requests and runs that the version was asked for.
    pub(super) asked: u64,
    /// Requests and runs that were answered whole.
    pub(super) answered: u64,
    /// Requests and runs that failed; clients that left later than the bound are among them.
    pub(super) failed: u64,
    /// Clients that have waited for a head for longer than the bound.
    pub(super) hung: u64,
    /// Answers, and waits for a head that go on, that took longer than the bound.
    pub(super) slow: u64,
}

/// So many of them all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Share {
    pub(super) count: u64,
    pub(super) all: u64,
}

impl Arm {
    /// Counts against a bound; without one nothing is late.
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
    /// Counts clients that hang as failures: nothing better is known of them.
    pub(super) fn at_the_end(self) -> Score {
        Score { failed: self.failed + self.hung, ..self }
    }

    /// Failures, of all that is known to have failed or not.
    pub(super) fn failures(self) -> Share {
        Share { count: self.failed, all: self.answered + self.failed }
    }

    /// Slow answers, of all that is known to be slow or not.
    pub(super) fn delays(self) -> Share {
        Share { count: self.slow, all: self.answered + self.hung }
    }
}

impl Share {
    /// So many of a hundred.
    #[expect(clippy::cast_precision_loss, reason = "no trial has 2^52 requests")]
    pub(super) fn percent(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.count as f64 * 100.0 / self.all as f64 }
    }

    /// Reports whether it is higher than that of the version beside it by more than `tolerance` percent and
    /// three standard deviations, which chance hardly makes of one rate.
    #[expect(clippy::cast_precision_loss, reason = "no trial has 2^52 requests")]
    pub(super) fn exceeds(self, beside: Share, tolerance: f64) -> bool {
        let (percent, all) = (beside.percent(), self.all as f64);
        let chance = 3.0 * (percent * all / 100.0).sqrt();
        self.count as f64 * 100.0 > (percent + tolerance) * all + chance * 100.0
    }
}

impl Waits {
    /// Notes a wait; returns its number.
    pub(super) fn begin(&self, wait: Wait) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.part(number).insert(number, wait);
        number
    }

    pub(super) fn end(&self, number: u64) {
        self.part(number).remove(&number);
    }

    /// Counts those that are longer than `bound`.
    fn longer(&self, bound: Duration) -> u64 {
        let parts = self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner));
        parts.map(|part| part.values().filter(|wait| wait.time() > bound).count() as u64).sum()
    }

    fn part(&self, number: u64) -> MutexGuard<'_, HashMap<u64, Wait>> {
        let part = usize::try_from(number % self.parts.len() as u64).unwrap_or_default();
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// Begins, for a job that has used this.
    pub(super) fn begin(usage: Option<Arc<Usage>>) -> Wait {
        let before = usage.as_ref().map(|usage| usage.waits.sum()).unwrap_or_default();
        Wait { since: Instant::now(), usage, before }
    }

    /// Returns how long the version has kept its client waiting: what the job waited for the client meanwhile is not
    /// the version's.
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

    fn begun(before: Duration, usage: Option<Arc<Usage>>) -> Wait {
        Wait { since: Instant::now().checked_sub(before).unwrap(), ..Wait::begin(usage) }
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
        let wait = Wait::begin(Some(usage.clone()));
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
