//! A call that is counted once, however it ends.

use std::sync::Arc;

use crate::job::outbound::{Outcome, Tally};

/// A call that will be counted, once.
pub(super) struct CallOutcome {
    tally: Arc<Tally>,
    outcome: Outcome,
}

impl CallOutcome {
    pub(super) fn new(tally: Arc<Tally>) -> CallOutcome {
        CallOutcome { tally, outcome: Outcome::Failed }
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    pub(super) fn becomes(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for CallOutcome {
    fn drop(&mut self) {
        self.tally.count(self.outcome);
    }
}
