//! Slots for long requests to the admin socket, so that connections are left for short ones.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::refusal::Refusal;
use crate::job::AdminQuota;

/// Profiles at once. A person looks at each, and each tick is counted for all of them.
const PROFILES: usize = 4;

/// Jobs at once that change the daemon. One of them runs; the others wait.
const CHANGES: usize = 12;

/// Jobs at once that last until their client ends them.
const OPEN: usize = 32;

/// The slots for each kind of long request.
pub struct AdminSlots {
    profiles: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

/// A slot. Dropping it returns it.
pub(in crate::http) struct AdminSlot {
    _permit: OwnedSemaphorePermit,
}

impl AdminSlots {
    /// The connection limit of the admin socket: 16 more than the slots can hold.
    pub const CONNECTIONS: usize = PROFILES + CHANGES + OPEN + 16;

    /// Takes a slot for a profile.
    ///
    /// # Errors
    /// All slots are taken.
    pub(in crate::http) fn profile(&self) -> Result<AdminSlot, Refusal> {
        take(&self.profiles, || {
            format!("{PROFILES} profiles are being taken, which is the limit; wait for one to end")
        })
    }

    /// Takes a slot for a job. Returns `None` for a job that needs no slot because it is short.
    ///
    /// # Errors
    /// All slots of the kind are taken.
    pub(in crate::http) fn job(&self, quota: AdminQuota) -> Result<Option<AdminSlot>, Refusal> {
        let slot = match quota {
            AdminQuota::None => return Ok(None),
            AdminQuota::Change => take(&self.changes, || {
                format!(
                    "{CHANGES} changes (swap, promote, reload, rollback, upgrade, plan) are running or queued, which is the limit; wait for one to end"
                )
            }),
            AdminQuota::LongLived => take(&self.open, || {
                format!(
                    "{OPEN} long jobs (logs, tap, sql, jobs of handlers) run for the admin socket, which is the limit; end one"
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
