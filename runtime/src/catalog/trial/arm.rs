//! What is counted of one version during a trial.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::Histogram;

/// Parts of a trial's time: the age of a request under way is known to one of them.
pub(super) const PARTS: usize = 256;

/// The counters of one version. Each request adds to few of them, and waits for no other.
#[derive(Default)]
pub(super) struct Arm {
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
    /// Clients that wait for more of an answer.
    pub(super) bodies: Waits,
}

/// Counts those that wait, by the part of the trial in which they began to.
pub(super) struct Waits([AtomicU32; PARTS]);

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
    /// Answers, and waits that go on, that took longer than the bound.
    pub(super) slow: u64,
}

impl Arm {
    /// Counts against a bound; without one nothing is late. `elapsed` is how much of `time` is over.
    pub(super) fn score(&self, bound: Option<Duration>, elapsed: Duration, time: Duration) -> Score {
        let late = |times: &Histogram| bound.map_or(0, |bound| times.beyond(bound));
        let waits = |waiting: &Waits| bound.map_or(0, |bound| waiting.longer(bound, elapsed, time));
        let (hung, failed) = (waits(&self.heads), self.failed.load(Ordering::Relaxed));
        let answered = self.answered.count() + self.ran.load(Ordering::Relaxed);
        Score {
            asked: answered + failed + self.left.count() + self.heads.all() + self.bodies.all(),
            answered,
            failed: failed + late(&self.left),
            hung,
            slow: late(&self.answered) + hung + waits(&self.bodies),
        }
    }
}

impl Score {
    /// Counts clients that hang as failures: nothing better is known of them.
    pub(super) fn at_the_end(self) -> Score {
        Score { failed: self.failed + self.hung, ..self }
    }

    /// Failures in a hundred requests.
    #[expect(clippy::cast_precision_loss, reason = "no trial has 2^52 requests")]
    pub(super) fn rate(self) -> f64 {
        let all = self.answered + self.failed;
        if all == 0 { 0.0 } else { self.failed as f64 * 100.0 / all as f64 }
    }
}

impl Waits {
    pub(super) fn begin(&self, part: usize) {
        self.0[part].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, part: usize) {
        self.0[part].fetch_sub(1, Ordering::Relaxed);
    }

    fn all(&self) -> u64 {
        self.0.iter().map(|waiting| u64::from(waiting.load(Ordering::Relaxed))).sum()
    }

    /// Counts those that have waited longer than `bound` for certain.
    fn longer(&self, bound: Duration, elapsed: Duration, time: Duration) -> u64 {
        let Some(before) = elapsed.checked_sub(bound) else { return 0 };
        // What began in the part that contains `before` may have begun later.
        let parts = self.0.iter().take(part(before, time));
        parts.map(|waiting| u64::from(waiting.load(Ordering::Relaxed))).sum()
    }
}

impl Default for Waits {
    fn default() -> Waits {
        Waits([const { AtomicU32::new(0) }; PARTS])
    }
}

/// Returns the part of a trial of this `time` that a moment is in.
pub(super) fn part(elapsed: Duration, time: Duration) -> usize {
    let position = elapsed.as_nanos().saturating_mul(PARTS as u128) / time.as_nanos().max(1);
    usize::try_from(position).unwrap_or(PARTS).min(PARTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(256);

    #[test]
    fn a_wait_counts_once_it_is_longer_than_the_bound_for_certain() {
        let (arm, bound) = (Arm::default(), Some(Duration::from_secs(5)));
        arm.heads.begin(part(Duration::from_millis(10_500), TIME));
        let hung = |elapsed| arm.score(bound, Duration::from_millis(elapsed), TIME).hung;

        assert_eq!([15_400, 15_900, 16_000].map(hung), [0, 0, 1]);
        arm.heads.end(10);
        assert_eq!(hung(100_000), 0);
    }

    #[test]
    fn without_a_bound_nothing_is_late() {
        let arm = Arm::default();
        arm.answered.note(TIME);
        arm.left.note(TIME);
        arm.heads.begin(0);

        assert_eq!(arm.score(None, TIME, TIME), Score { asked: 3, answered: 1, ..Score::default() });
        let late = arm.score(Some(Duration::from_secs(1)), TIME, TIME);
        assert_eq!(late, Score { asked: 3, answered: 1, failed: 1, hung: 1, slow: 2 });
        assert_eq!(late.at_the_end().failed, 2);
    }
}
