//! A new version that answers some of a handler's requests while it is on trial.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::trial::{Ballot, Rules, Trial, Which};
use crate::job::Entry;

/// A version on trial beside the one that serves. Clones share the trial: another generation goes on with it.
#[derive(Clone)]
pub struct Canary {
    /// The version on trial.
    pub entry: Arc<Entry>,
    /// How many of a hundred requests it gets.
    pub percent: Percent,
    /// What requests have shown of it.
    pub trial: Arc<Trial>,
    turns: Arc<AtomicU64>,
}

/// A share of requests, 1 to 99 of a hundred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Percent(u8);

impl Percent {
    /// Takes a number from 1 to 99; none: it is another.
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

impl Canary {
    /// Puts a version on trial, from now on.
    pub(super) fn new(entry: Arc<Entry>, percent: Percent, rules: Rules) -> Canary {
        Canary { entry, percent, trial: Arc::new(Trial::new(rules)), turns: Arc::default() }
    }

    /// Returns the version on trial if the next request is for it, and what tells of the request's end. Once there
    /// is a verdict, no request is for it and none is counted.
    ///
    /// Counted, not drawn by lot: of any hundred requests in a row, exactly `percent` are, evenly
    /// spread, so that a short trial is as fair as a long one.
    pub(super) fn next(&self) -> (Option<&Arc<Entry>>, Option<Ballot>) {
        if self.trial.verdict().is_some() {
            return (None, None);
        }
        let (entry, which) = match self.percent.takes(self.turns.fetch_add(1, Ordering::Relaxed)) {
            true => (Some(&self.entry), Which::Tried),
            false => (None, Which::Serving),
        };
        (entry, Some(Ballot::new(self.trial.clone(), which)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_any_hundred_requests_exactly_the_share_is_for_the_canary() {
        for share in [1, 10, 33, 50, 99] {
            let percent = Percent::new(share).unwrap();
            for first in [0, 37, 1_000_000] {
                let taken = (first..first + 100).filter(|turn| percent.takes(*turn)).count();
                assert_eq!(taken, usize::from(share), "from request {first} on");
            }
        }
    }

    #[test]
    fn a_share_of_all_or_nothing_is_no_canary() {
        assert_eq!([0, 100, 255].map(Percent::new), [None; 3]);
    }
}
