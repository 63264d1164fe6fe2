//! Who may run now, who waits, and who is sent away.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::running::{Running, Wanting};
use crate::budget::{Budget, Portion};
use crate::job::{Allotment, Counted, Entry, Fault, Job, Kind, Needs, Slots};

/// What the daemon has for all jobs in sandboxes.
#[derive(Clone)]
pub struct Budgets {
    /// Places to run in.
    pub places: Arc<Budget>,
    /// Memory of guests, in units of [`Needs::PAGE`] bytes.
    pub memory: Arc<Budget>,
    /// File descriptors.
    pub descriptors: Arc<Budget>,
}

/// A place to run in. Dropping it lets the next one in.
pub(super) struct Slot {
    _own: OwnedSemaphorePermit,
    _shared: Option<Portion>,
    /// Counts the job for its address as long as it has the slot.
    _counted: Option<Counted>,
}

impl Budgets {
    /// Makes room for so many jobs at once, of whatever size.
    pub fn of_jobs(places: usize) -> Budgets {
        Budgets { places: Budget::new(places), memory: Budget::boundless(), descriptors: Budget::boundless() }
    }
}

/// Waits for one of the handler's slots and, for a sandboxed job, for what it needs of what all jobs
/// share: a handler in demand fills its own line and nobody else's.
///
/// An address may have all slots but a few as long as nobody else wants one. Beyond its share of them its jobs stand
/// in line as one, behind those of the others, and leave a quarter of the line to them; those that wait for
/// their clients make room.
///
/// # Errors
/// [`Fault::Busy`]: the handler's line is full. [`Fault::QueuedTooLong`]: it moved too slowly.
/// [`Fault::MemoryTotal`], [`Fault::DescriptorsTotal`]: there was too little of these.
///
/// # Cancel safety
/// Dropping the future leaves the line.
pub(super) async fn admit(
    job: &Job,
    budgets: &Budgets,
    running: &Running,
) -> Result<(Slot, Option<Allotment>), Fault> {
    let most = job.entry.limits.most_of_one_address();
    let mut counted = job.entry.slots.peers.enter(job.origin, most);
    let (slot, allotment) = match counted.take_slot().then(|| at_once(&job.entry, budgets)).flatten() {
        Some(admitted) => admitted,
        None => {
            counted.leave_slot();
            in_line(job, budgets, running, &mut counted).await?
        }
    };
    counted.has_slot();
    Ok((Slot { _counted: Some(counted), ..slot }, allotment))
}

/// How often a job looks for another that is to make room for it.
const LOOK: Duration = Duration::from_millis(100);

/// Waits in the handler's line, as one of those whose address has its share or as one of the others.
async fn in_line(
    job: &Job,
    budgets: &Budgets,
    running: &Running,
    counted: &mut Counted,
) -> Result<(Slot, Option<Allotment>), Fault> {
    let entry = &*job.entry;
    let Slots { running: slots, waiting, crowd, .. } = &entry.slots;
    let retry_after = Fault::RETRY_AFTER;
    let is_crowd = counted.is_beyond(entry.limits.share());
    let (kept, wanting) = match job.origin.filter(|_| is_crowd) {
        Some(origin) => (entry.limits.queue / 4, Wanting::Crowd(origin)),
        None => (0, Wanting::Other),
    };
    let left = waiting.available_permits();
    let Some(_place) = waiting.try_acquire().ok().filter(|_| left > kept) else {
        return Err(Fault::Busy { name: entry.name.clone(), retry_after });
    };
    let limit = entry.limits.queue_time;
    let mut waits_for = Awaited::Slot;
    let admitted = async {
        // Both turns are held until there is a slot, so that the crowd has one job in the line of the others. The turn of
        // all addresses comes last: an address that has all it may waits for its own slots, and holds up no other.
        let (_own, _turn) = match wanting {
            Wanting::Crowd(origin) => {
                let own = entry.slots.peers.turn(origin).await;
                looking(counted.slot(), || running.make_room(entry, wanting)).await;
                (Some(own), Some(crowd.acquire().await.ok()?))
            }
            Wanting::Other => (None, None),
        };
        let look = || {
            // A job that waits for a place of the daemon's has a slot: some are kept for such.
            if slots.available_permits() == 0 {
                running.make_room(entry, wanting);
            }
        };
        looking(wait(entry, budgets, &mut waits_for), look).await
    };
    let admitted = timeout(limit, admitted).await.ok().flatten();
    admitted.ok_or_else(|| match waits_for {
        Awaited::Slot => Fault::QueuedTooLong { name: entry.name.clone(), limit, retry_after },
        Awaited::Memory => Fault::MemoryTotal { retry_after },
        Awaited::Descriptors => Fault::DescriptorsTotal { retry_after },
    })
}

/// Waits, and looks every now and then.
async fn looking<T>(awaited: impl Future<Output = T>, look: impl Fn()) -> T {
    let mut awaited = pin!(awaited);
    loop {
        tokio::select! {
            biased;
            outcome = awaited.as_mut() => return outcome,
            () = sleep(LOOK) => look(),
        }
    }
}

/// What a job in line waits for.
enum Awaited {
    Slot,
    Memory,
    Descriptors,
}

/// Says what a job takes of what all jobs share; `None`: it is the daemon's own.
fn needs(entry: &Entry) -> Option<(usize, usize)> {
    match entry.kind {
        Kind::Native => None,
        Kind::Core | Kind::Command | Kind::Proxy => {
            let Needs { memory, descriptors } = entry.handler.needs(&entry.limits);
            Some((memory.div_ceil(Needs::PAGE), descriptors))
        }
    }
}

/// Takes everything if everything is free.
fn at_once(entry: &Entry, budgets: &Budgets) -> Option<(Slot, Option<Allotment>)> {
    let slots = &entry.slots;
    let own = slots.running.clone().try_acquire_owned().ok()?;
    let Some((memory, descriptors)) = needs(entry) else {
        return Some((Slot { _own: own, _shared: None, _counted: None }, None));
    };
    let memory = budgets.memory.try_take(&slots.memory, memory)?;
    let descriptors = budgets.descriptors.try_take(&slots.descriptors, descriptors)?;
    let place = budgets.places.try_take(&slots.places, 1)?;
    Some((Slot { _own: own, _shared: Some(place), _counted: None }, Some(Allotment { memory, descriptors })))
}

/// Waits for one after the other; `None`: what it waits for cannot be had. A place of the daemon's is
/// the last, so that it is held by jobs that run.
async fn wait(
    entry: &Entry,
    budgets: &Budgets,
    waits_for: &mut Awaited,
) -> Option<(Slot, Option<Allotment>)> {
    let slots = &entry.slots;
    let own = slots.running.clone().acquire_owned().await.ok()?;
    let Some((memory, descriptors)) = needs(entry) else {
        return Some((Slot { _own: own, _shared: None, _counted: None }, None));
    };
    *waits_for = Awaited::Memory;
    let memory = budgets.memory.take(&slots.memory, memory).await?;
    *waits_for = Awaited::Descriptors;
    let descriptors = budgets.descriptors.take(&slots.descriptors, descriptors).await?;
    *waits_for = Awaited::Slot;
    let place = budgets.places.take(&slots.places, 1).await?;
    Some((Slot { _own: own, _shared: Some(place), _counted: None }, Some(Allotment { memory, descriptors })))
}
