//! Slots for long requests to the admin socket, so that connections are left for short ones.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::refusal::Refusal;
use crate::job::Stay;

/// Profiles at once: each is looked at by whoever took it, and each tick is counted for all of them.
const PROFILES: usize = 4;

/// Jobs at once that bring something into the daemon: one is carried out, the others are in line.
const CHANGES: usize = 12;

/// Jobs at once that last as long as whoever asked wants.
const OPEN: usize = 32;

/// The places.
pub struct AdminSlots {
    profiles: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

/// A place. Dropping it gives it back.
pub(in crate::http) struct AdminSlot {
    _permit: OwnedSemaphorePermit,
}

impl AdminSlots {
    /// Connections that the admin socket has: 16 more than what lasts can hold.
    pub const CONNECTIONS: usize = PROFILES + CHANGES + OPEN + 16;

    /// Takes a place for a profile.
    ///
    /// # Errors
    /// All are taken.
    pub(in crate::http) fn profile(&self) -> Result<AdminSlot, Refusal> {
        take(&self.profiles, || {
            format!("{PROFILES} profiles are being taken, which is the limit; wait for one to end")
        })
    }

    /// Takes a place for a job, if it is of those that last.
    ///
    /// # Errors
    /// All are taken.
    pub(in crate::http) fn job(&self, stay: Stay) -> Result<Option<AdminSlot>, Refusal> {
        let slot = match stay {
            Stay::Moment => return Ok(None),
            Stay::Change => take(&self.changes, || {
                format!(
                    "{CHANGES} changes (swap, reload, rollback, upgrade, plan) are running or queued, which is the limit; wait for one to end"
                )
            }),
            Stay::Open => take(&self.open, || {
                format!(
                    "{OPEN} long jobs (logs, jobs of handlers) run for the admin socket, which is the limit; end one"
                )
            }),
        };
        slot.map(Some)
    }
}

impl Default for AdminSlots {
    fn default() -> AdminSlots {
        let places = |count| Arc::new(Semaphore::new(count));
        AdminSlots { profiles: places(PROFILES), changes: places(CHANGES), open: places(OPEN) }
    }
}

fn take(places: &Arc<Semaphore>, full: impl FnOnce() -> String) -> Result<AdminSlot, Refusal> {
    places
        .clone()
        .try_acquire_owned()
        .map(|permit| AdminSlot { _permit: permit })
        .map_err(|_| Refusal::Occupied(full()))
}
