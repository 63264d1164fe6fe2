//! A version on trial: it answers a share of a handler's requests beside the version that serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::trial::{AssignedVersion, Ballot, Rules, Trial};
use crate::job::HandlerVersion;

/// A version on trial beside the serving version. Clones share the trial, so the next generation continues it.
#[derive(Clone)]
pub struct TrialVersion {
    /// The version on trial.
    pub entry: Arc<HandlerVersion>,
    /// The share of requests it gets, in percent.
    pub percent: Percent,
    /// The results of its requests.
    pub trial: Arc<Trial>,
    turns: Arc<AtomicU64>,
}

/// A share of requests, from 1 to 99 percent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Percent(u8);

impl Percent {
    /// Makes a share from a number between 1 and 99; `None` for any other number.
    pub fn new(percent: u8) -> Option<Percent> {
        (1..=99).contains(&percent).then_some(Percent(percent))
    }

    /// Returns the number.
    pub fn get(self) -> u8 {
        self.0
    }

    fn takes(self, turn: u64) -> bool {
        let share = u64::from(self.0);
        (turn % 100 + 1) * share / 100 > turn % 100 * share / 100
    }
}

impl TrialVersion {
    /// Starts a trial of a version.
    pub(super) fn new(entry: Arc<HandlerVersion>, percent: Percent, rules: Rules) -> TrialVersion {
        TrialVersion { entry, percent, trial: Arc::new(Trial::new(rules)), turns: Arc::default() }
    }

    /// Returns the version on trial if it gets the next request, and the ballot that records how the request ends.
    /// Once there is a verdict, the version gets no requests and none is counted.
    ///
    /// Requests are counted, not drawn at random. Of any hundred requests in a row the version gets exactly `percent`,
    /// evenly spread, so a short trial is as fair as a long one.
    pub(super) fn next(&self) -> (Option<&Arc<HandlerVersion>>, Option<Ballot>) {
        if self.trial.verdict().is_some() {
            return (None, None);
        }
        let (entry, which) = match self.percent.takes(self.turns.fetch_add(1, Ordering::Relaxed)) {
            true => (Some(&self.entry), AssignedVersion::Tried),
            false => (None, AssignedVersion::Serving),
        };
        (entry, Some(Ballot::new(self.trial.clone(), which)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_any_hundred_requests_exactly_the_share_is_for_the_version_on_trial() {
        for share in [1, 10, 33, 50, 99] {
            let percent = Percent::new(share).unwrap();
            for first in [0, 37, 1_000_000] {
                let taken = (first..first + 100).filter(|turn| percent.takes(*turn)).count();
                assert_eq!(taken, usize::from(share), "from request {first} on");
            }
        }
    }

    #[test]
    fn a_share_of_all_or_nothing_is_no_trial() {
        assert_eq!([0, 100, 255].map(Percent::new), [None; 3]);
    }
}
