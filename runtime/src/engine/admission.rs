//! Who may run now, who waits, and who is sent away.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::job::{Entry, Fault, Held, Kind};

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
    _shared: Option<Place>,
}

/// One of the daemon's places, on its handler's account.
struct Place {
    held: Arc<Held>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(entry: &Entry, permit: OwnedSemaphorePermit) -> Place {
        let held = entry.slots.held.clone();
        held.count.fetch_add(1, Ordering::SeqCst);
        Place { held, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.held.count.fetch_sub(1, Ordering::SeqCst);
        // Keeps the news for a listener that is on its way.
        self.held.given_back.notify_one();
    }
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

    fn try_take(&self, entry: &Entry) -> Option<Place> {
        let common = self.common.clone().try_acquire_owned().ok();
        let permit = common.or_else(|| {
            // Those of the handler that wait are first.
            let first = entry.slots.turn.available_permits() > 0;
            (first && self.has_few(entry)).then(|| self.kept.clone().try_acquire_owned().ok()).flatten()
        });
        permit.map(|permit| Place::new(entry, permit))
    }

    async fn take(&self, entry: &Entry) -> Result<Place, AcquireError> {
        // One job of each handler stands in the line, so that it goes around the handlers and a
        // handler with a long line of its own is not before one with a short one.
        let _turn = entry.slots.turn.acquire().await?;
        // It stays where it is in this line while it looks at the kept places as well.
        let mut common = pin!(self.common.clone().acquire_owned());
        let permit = loop {
            if self.has_few(entry) {
                break tokio::select! {
                    permit = &mut common => permit,
                    permit = self.kept.clone().acquire_owned() => permit,
                };
            }
            tokio::select! {
                permit = &mut common => break permit,
                () = entry.slots.held.given_back.notified() => {}
            }
        };
        permit.map(|permit| Place::new(entry, permit))
    }

    /// Reports whether a handler still holds few places when it has one more.
    fn has_few(&self, entry: &Entry) -> bool {
        entry.slots.held.count.load(Ordering::SeqCst) < self.few
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
