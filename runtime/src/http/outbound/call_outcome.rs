//! A guard that counts a call once, however the call ends.

use std::sync::Arc;

use crate::job::outbound::{OutboundOutcome, Tally};

/// Counts its call when dropped.
pub(super) struct CallOutcome {
    tally: Arc<Tally>,
    outcome: OutboundOutcome,
}

impl CallOutcome {
    pub(super) fn new(tally: Arc<Tally>) -> CallOutcome {
        CallOutcome { tally, outcome: OutboundOutcome::Failed }
    }

    pub(super) fn end(mut self, outcome: OutboundOutcome) {
        self.outcome = outcome;
    }

    pub(super) fn becomes(&mut self, outcome: OutboundOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for CallOutcome {
    fn drop(&mut self) {
        self.tally.count(self.outcome);
    }
}
