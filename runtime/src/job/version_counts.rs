//! `VersionCounts`: references to the counters of a version, without its code, for versions that were replaced.

use std::sync::Arc;

use super::outbound::Tally;
use super::{HandlerStats, HandlerVersion, Limits, Name, SlotUse, Slots};

/// The counters of a version. Holds no code of it.
#[derive(Clone)]
pub struct VersionCounts {
    /// The handler.
    pub name: Name,
    /// The version.
    pub version: String,
    /// The outcomes of its jobs.
    pub record: Arc<HandlerStats>,
    /// The outcomes of its outbound requests. `None` if it makes none.
    pub tally: Option<Arc<Tally>>,
    /// Whether it has a schedule.
    pub is_scheduled: bool,
    /// The limits of its jobs.
    pub limits: Limits,
    slots: Slots,
}

impl VersionCounts {
    /// Copies references to the counters of a version.
    pub fn of(entry: &HandlerVersion) -> VersionCounts {
        VersionCounts {
            name: entry.name.clone(),
            version: entry.version.clone(),
            record: entry.record.clone(),
            tally: entry.grants.outbound.as_ref().map(|outbound| outbound.tally().clone()),
            is_scheduled: entry.schedule.is_some(),
            limits: entry.limits.clone(),
            slots: entry.slots.clone(),
        }
    }

    /// Counts the running and the waiting jobs.
    pub fn taken(&self) -> SlotUse {
        self.slots.taken(&self.limits)
    }
}
