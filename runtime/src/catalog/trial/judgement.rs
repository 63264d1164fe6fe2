//! The rules of a trial: when a version is promoted and when it is rolled back.

use std::time::Duration;

use super::arm::{Fraction, Score};

/// Failures or slow responses that may be chance. A running trial is not lost before there are more.
pub(super) const CHANCE: u64 = 3;

/// How much higher the rate of failures or slow responses of the version on trial may be, in percentage points.
const TOLERANCE: f64 = 1.0;

/// Added to every time limit, because scheduling delays are not the version's fault.
const SLACK: Duration = Duration::from_millis(5);

/// The requirements on a version.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rules {
    /// How long the trial lasts.
    pub time: Duration,
    /// How many requests it has to answer in that time.
    pub requests: u64,
    /// The limit on response times, as a multiple of the other version's 99th percentile. `None` if times are not
    /// compared.
    pub slower: Option<u32>,
}

/// The verdict of a trial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// The version passed.
    Promote,
    /// The version failed, for this reason.
    GoBack(String),
}

/// The results of both versions so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    pub(super) serving: Score,
    pub(super) tried: Score,
    /// The limit above which responses are slow. `None` if it is not known yet or not configured.
    pub(super) bound: Option<Duration>,
}

impl Rules {
    /// Returns the limit on response times, given the other version's 99th percentile.
    pub(super) fn bound(&self, p99: Option<Duration>) -> Option<Duration> {
        Some(p99?.checked_mul(self.slower?)?.saturating_add(SLACK))
    }

    /// Judges the results so far. Returns `None` if the trial continues.
    pub(super) fn judge(&self, evidence: Evidence, over: bool) -> Option<Judgement> {
        let Evidence { mut serving, mut tried, bound } = evidence;
        if over {
            (serving, tried) = (serving.at_the_end(), tried.at_the_end());
        }
        if (over || tried.failed > CHANCE) && tried.failures().exceeds(serving.failures(), TOLERANCE) {
            return Some(Judgement::GoBack(failures(serving, tried)));
        }
        let (delays, beside) = (tried.delays(), serving.delays());
        if let Some(bound) = bound.filter(|_| tried.slow > CHANCE && delays.exceeds(beside, TOLERANCE)) {
            return Some(Judgement::GoBack(format!(
                "{} of {} answers took longer than {bound:.1?}, which allows for {} times the 99th percentile of the current version ({} of {} did there)",
                delays.count,
                delays.all,
                self.slower.unwrap_or_default(),
                beside.count,
                beside.all
            )));
        }
        match over {
            false => None,
            true if tried.asked == 0 => {
                Some(Judgement::GoBack("no request reached it, so it cannot be judged".to_owned()))
            }
            true if tried.answered < self.requests => Some(Judgement::GoBack(format!(
                "it has answered {} of at least {} requests within {:?}, too few to judge it: give it more time, a larger share, or ask for fewer requests",
                tried.answered, self.requests, self.time
            ))),
            true => Some(Judgement::Promote),
        }
    }
}

fn failures(serving: Score, tried: Score) -> String {
    let told =
        |share: Fraction| format!("{} of {} requests ({:.1} %)", share.count, share.all, share.percent());
    format!("{} failed, against {}", told(tried.failures()), told(serving.failures()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { time: Duration::from_secs(60), requests: 20, slower: Some(4) };

    fn score(answered: u64, failed: u64) -> Score {
        Score { asked: answered + failed, answered, failed, ..Score::default() }
    }

    fn judge(serving: Score, tried: Score, over: bool) -> Option<Judgement> {
        let bound = RULES.bound(Some(Duration::from_millis(1)));
        RULES.judge(Evidence { serving, tried, bound }, over)
    }

    fn goes_back(serving: Score, tried: Score, over: bool) -> bool {
        matches!(judge(serving, tried, over), Some(Judgement::GoBack(_)))
    }

    #[test]
    fn a_version_that_fails_more_goes_back_before_the_time_is_over() {
        assert_eq!(judge(score(100, 0), score(0, 3), false), None);
        assert!(goes_back(score(100, 0), score(0, 4), false));
        assert!(goes_back(score(100, 0), score(49, 1), true));
    }

    #[test]
    fn a_version_that_fails_no_more_than_the_old_one_is_promoted_at_the_end() {
        assert_eq!(judge(score(810, 90), score(90, 10), false), None);
        assert_eq!(judge(score(810, 90), score(90, 10), true), Some(Judgement::Promote));
        assert_eq!(judge(score(900, 0), score(99, 1), true), Some(Judgement::Promote));
    }

    #[test]
    fn a_version_that_answered_too_few_is_not_promoted() {
        assert!(goes_back(score(100, 0), score(0, 0), true));
        for answered in [1, 6, 19] {
            assert!(goes_back(score(100, 0), score(answered, 0), true), "{answered}");
        }
        assert_eq!(judge(score(100, 0), score(20, 0), true), Some(Judgement::Promote));
    }

    #[test]
    fn a_slow_version_goes_back_at_once_and_a_few_slow_answers_are_chance() {
        let slow = |answered, slow| Score { asked: answered, answered, slow, ..Score::default() };

        assert!(goes_back(score(100, 0), slow(4, 4), false));
        assert_eq!(judge(score(100, 0), slow(20, 3), false), None);
        assert_eq!(judge(score(100, 0), slow(1000, 10), true), Some(Judgement::Promote));
        assert!(goes_back(score(100, 0), slow(1000, 11), false));
    }

    #[test]
    fn a_version_whose_answers_are_slow_as_often_as_those_of_the_old_one_is_promoted() {
        let slow = |answered, slow| Score { asked: answered, answered, slow, ..Score::default() };
        let polled = |answered, hung| Score { answered, hung, slow: hung, ..Score::default() };

        // One in two hundred, with random variation.
        assert_eq!(judge(slow(2000, 10), slow(200, 4), false), None);
        assert_eq!(judge(slow(2000, 10), slow(400, 5), true), Some(Judgement::Promote));
        // One in ten is a long poll.
        assert_eq!(judge(polled(360, 40), polled(36, 8), false), None);
        assert!(goes_back(slow(2000, 10), slow(200, 8), false));
        assert!(goes_back(polled(360, 40), polled(20, 24), false));
    }

    #[test]
    fn clients_that_hang_at_the_end_are_failures_then() {
        let hung = Score { asked: 32, answered: 30, hung: 2, slow: 2, ..Score::default() };

        assert_eq!(judge(score(100, 0), hung, false), None);
        assert!(goes_back(score(100, 0), hung, true));
        let beside = Score { asked: 330, answered: 300, hung: 30, ..Score::default() };
        assert_eq!(judge(beside, hung, true), Some(Judgement::Promote));
    }

    #[test]
    fn a_bound_is_known_once_there_is_a_percentile() {
        assert_eq!(RULES.bound(None), None);
        assert_eq!(RULES.bound(Some(Duration::from_millis(10))), Some(Duration::from_millis(45)));
        assert_eq!(RULES.bound(Some(Duration::MAX)), None);
        assert_eq!(Rules { slower: None, ..RULES }.bound(Some(Duration::ZERO)), None);
    }
}
