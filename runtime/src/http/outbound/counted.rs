//! A call that is counted once, however it ends.

use std::sync::Arc;

use crate::job::outbound::{Outcome, Tally};

/// A call that will be counted, once.
pub(super) struct Counted {
    tally: Arc<Tally>,
    outcome: Outcome,
}

impl Counted {
    pub(super) fn new(tally: Arc<Tally>) -> Counted {
        Counted { tally, outcome: Outcome::Failed }
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    pub(super) fn becomes(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.tally.count(self.outcome);
    }
}
