//! What is counted of one version of a handler: it can be looked at when the version itself is gone.

use std::sync::Arc;

use super::outbound::Tally;
use super::{Entry, Limits, Name, Outbound, Record, Slots, Taken};

/// The counters of a version. Holds no code.
#[derive(Clone)]
pub struct Counts {
    /// The handler.
    pub name: Name,
    /// Which version of it.
    pub version: String,
    /// How its jobs have ended.
    pub record: Arc<Record>,
    /// How its calls to other servers have ended; none: it makes none.
    pub tally: Option<Arc<Tally>>,
    /// Whether it runs by itself.
    pub is_scheduled: bool,
    /// What its jobs may use.
    pub limits: Limits,
    slots: Slots,
}

impl Counts {
    /// Takes hold of the counters of a version.
    pub fn of(entry: &Entry) -> Counts {
        Counts {
            name: entry.name.clone(),
            version: entry.version.clone(),
            record: entry.record.clone(),
            tally: entry.handler.outbound().map(Outbound::tally).cloned(),
            is_scheduled: entry.schedule.is_some(),
            limits: entry.limits.clone(),
            slots: entry.slots.clone(),
        }
    }

    /// Counts the jobs that run and wait.
    pub fn taken(&self) -> Taken {
        self.slots.taken(&self.limits)
    }
}
