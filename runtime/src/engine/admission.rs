//! Who may run now, who waits, and who is sent away.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::job::{Entry, Fault, Kind};

/// When a client that was sent away may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The daemon's places for jobs in sandboxes, over all handlers.
///
/// An eighth of them is kept for handlers that hold few: a handler whose jobs fill the rest, and
/// take their time, does not keep another from starting one.
pub(super) struct Pool {
    common: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    /// How many there are.
    pub(super) all: usize,
    /// The most places of a handler that holds few.
    few: usize,
}

/// A place to run in. Dropping it lets the next one in.
pub(super) struct Slot {
    _own: OwnedSemaphorePermit,
    _shared: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(super) fn new(places: usize) -> Pool {
        let kept = places - most_of_one(places);
        Pool {
            common: Arc::new(Semaphore::new(places - kept)),
            kept: Arc::new(Semaphore::new(kept)),
            all: places,
            few: (kept / 4).max(1),
        }
    }

    fn try_take(&self, entry: &Entry) -> Option<OwnedSemaphorePermit> {
        let common = self.common.clone().try_acquire_owned().ok();
        common.or_else(|| {
            let few = self.has_few(entry);
            few.then(|| self.kept.clone().try_acquire_owned().ok()).flatten()
        })
    }

    async fn take(&self, entry: &Entry) -> Result<OwnedSemaphorePermit, AcquireError> {
        // One job of each handler stands in the line, so that it goes around the handlers and a
        // handler with a long line of its own is not before one with a short one.
        let _turn = entry.slots.turn.acquire().await?;
        if !self.has_few(entry) {
            return self.common.clone().acquire_owned().await;
        }
        tokio::select! {
            place = self.common.clone().acquire_owned() => place,
            place = self.kept.clone().acquire_owned() => place,
        }
    }

    /// Reports whether a handler holds few places, the one that is asked for among them.
    fn has_few(&self, entry: &Entry) -> bool {
        entry.slots.taken(&entry.limits).running <= self.few
    }
}

/// Says how many of the daemon's places the jobs of one handler can have at once.
pub fn most_of_one(places: usize) -> usize {
    places - places / 8
}

/// Waits for one of the handler's slots and, for a sandboxed job, one of the daemon's: a handler in
/// demand fills its own line and nobody else's.
///
/// # Errors
/// [`Fault::Busy`]: the handler's line is full. [`Fault::QueuedTooLong`]: it moved too slowly.
///
/// # Cancel safety
/// Dropping the future leaves the line.
pub(super) async fn admit(entry: &Entry, pool: &Pool) -> Result<Slot, Fault> {
    if let Some(slot) = at_once(entry, pool) {
        return Ok(slot);
    }
    let Ok(_place) = entry.slots.waiting.try_acquire() else {
        return Err(Fault::Busy { name: entry.name.clone(), retry_after: RETRY_AFTER });
    };
    let limit = entry.limits.queue_time;
    // A closed semaphore would be the same to the caller; ours are never closed.
    let in_time = timeout(limit, wait(entry, pool)).await.ok().and_then(Result::ok);
    in_time.ok_or_else(|| Fault::QueuedTooLong { name: entry.name.clone(), limit, retry_after: RETRY_AFTER })
}

/// Takes both places if both are free.
fn at_once(entry: &Entry, pool: &Pool) -> Option<Slot> {
    let own = entry.slots.running.clone().try_acquire_owned().ok()?;
    let shared = match entry.kind {
        Kind::Native => None,
        Kind::Core | Kind::Command | Kind::Proxy => Some(pool.try_take(entry)?),
    };
    Some(Slot { _own: own, _shared: shared })
}

async fn wait(entry: &Entry, pool: &Pool) -> Result<Slot, AcquireError> {
    let own = entry.slots.running.clone().acquire_owned().await?;
    let shared = match entry.kind {
        Kind::Native => None,
        Kind::Core | Kind::Command | Kind::Proxy => Some(pool.take(entry).await?),
    };
    Ok(Slot { _own: own, _shared: shared })
}
