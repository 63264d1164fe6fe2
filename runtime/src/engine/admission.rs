//! Who may run now, who waits, and who is sent away.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::job::{Entry, Fault, Kind};

/// The longest a job waits for a slot: a client that waited longer has mostly left.
const PATIENCE: Duration = Duration::from_secs(10);

/// When a client that was sent away may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A place to run in. Dropping it lets the next one in.
pub(super) struct Slot {
    _own: OwnedSemaphorePermit,
    _shared: Option<OwnedSemaphorePermit>,
}

/// Waits for one of the handler's slots and, for a sandboxed job, one of the daemon's: a handler in
/// demand fills its own line and nobody else's.
///
/// # Errors
/// [`Fault::Busy`]: the handler's line is full, or moved too slowly.
///
/// # Cancel safety
/// Dropping the future leaves the line.
pub(super) async fn admit(entry: &Entry, total: &Arc<Semaphore>) -> Result<Slot, Fault> {
    let own = enter(entry).await?;
    let shared = match entry.kind {
        Kind::Native => None,
        Kind::Core | Kind::Command => Some(acquire(entry, total).await?),
    };
    Ok(Slot { _own: own, _shared: shared })
}

async fn enter(entry: &Entry) -> Result<OwnedSemaphorePermit, Fault> {
    if let Ok(permit) = entry.slots.running.clone().try_acquire_owned() {
        return Ok(permit);
    }
    let Ok(_place) = entry.slots.waiting.clone().try_acquire_owned() else { return Err(busy(entry)) };
    acquire(entry, &entry.slots.running).await
}

async fn acquire(entry: &Entry, semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    if let Ok(permit) = semaphore.clone().try_acquire_owned() {
        return Ok(permit);
    }
    match timeout(PATIENCE, semaphore.clone().acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        // A closed semaphore would be the same to the caller; ours are never closed.
        Ok(Err(_)) | Err(_) => Err(busy(entry)),
    }
}

fn busy(entry: &Entry) -> Fault {
    Fault::Busy { name: entry.name.clone(), retry_after: RETRY_AFTER }
}
