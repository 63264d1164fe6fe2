//! Admits jobs: decides which job may run, which waits in a queue, and which is refused.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::running::{Running, Wanting};
use crate::budget::{Budget, Portion};
use crate::job::{Allotment, Fault, HandlerVersion, Job, Kind, Needs, PeerGuard, Slots};

/// The budgets that all sandboxed jobs share.
#[derive(Clone)]
pub struct Budgets {
    /// Jobs at once.
    pub places: Arc<Budget>,
    /// Memory of guests, in units of [`Needs::PAGE`] bytes.
    pub memory: Arc<Budget>,
    /// File descriptors.
    pub descriptors: Arc<Budget>,
}

/// A permit to run. Dropping it admits the next job.
pub(super) struct PoolPermit {
    _own: OwnedSemaphorePermit,
    _shared: Option<Portion>,
    /// Counts the job for its client address as long as it holds the permit.
    _counted: Option<PeerGuard>,
}

impl Budgets {
    /// Makes budgets for `places` jobs at once, without limits on their memory and descriptors.
    pub fn of_jobs(places: usize) -> Budgets {
        Budgets { places: Budget::new(places), memory: Budget::boundless(), descriptors: Budget::boundless() }
    }
}

/// Waits for one of the handler's slots. A sandboxed job waits also for its part of the budgets of all jobs. Each
/// handler has its own queue, so a handler in demand does not delay the others.
///
/// One address may hold all slots but a few while nothing else waits. Jobs of an address that has more than its share
/// wait behind those of other addresses, one at a time, and leave a quarter of the queue free for them. Jobs that
/// wait for their clients are ended to make room.
///
/// # Errors
/// [`Fault::Busy`]: the handler's queue is full. [`Fault::Deadlock`]: all slots are held by callers and middlewares that would
/// wait for this job. [`Fault::QueuedTooLong`]: no slot became free within `limits.queue_time`. [`Fault::MemoryTotal`],
/// [`Fault::DescriptorsTotal`]: that budget was exhausted for as long.
///
/// # Cancel safety
/// Dropping the future leaves the queue.
pub(super) async fn admit(
    job: &Job,
    budgets: &Budgets,
    running: &Running,
) -> Result<(PoolPermit, Option<Allotment>), Fault> {
    let max = job.entry.limits.max_per_address();
    let mut counted = job.entry.slots.peers.enter(job.origin, max);
    let (slot, allotment) = match counted.take_slot().then(|| at_once(&job.entry, budgets)).flatten() {
        Some(admitted) => admitted,
        None => {
            counted.leave_slot();
            let start = Instant::now();
            // Boxed: few jobs wait, and the future of each would have room for it.
            let admitted = Box::pin(in_line(job, budgets, running, &mut counted)).await;
            job.usage.timing.queued(start.elapsed());
            admitted?
        }
    };
    counted.has_slot();
    job.entry.slots.note(&job.entry.limits);
    Ok((PoolPermit { _counted: Some(counted), ..slot }, allotment))
}

/// How often a queued job checks whether another one can be ended to make room.
const QUEUE_CHECK: Duration = Duration::from_millis(100);

/// Waits in the handler's queue, either for an address beyond its share or for any other.
async fn in_line(
    job: &Job,
    budgets: &Budgets,
    running: &Running,
    counted: &mut PeerGuard,
) -> Result<(PoolPermit, Option<Allotment>), Fault> {
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
    entry.slots.note(&entry.limits);
    let deadlock = || Fault::Deadlock { name: entry.name.clone(), retry_after };
    let _nested =
        if job.around.is_empty() { None } else { Some(running.nested.begin(job).ok_or_else(deadlock)?) };
    let limit = entry.limits.queue_time;
    let mut waits_for = QueuedFor::Slot;
    let admitted = async {
        // Both turns are held until there is a slot, so all crowding addresses together have one job in the queue of
        // the others. The turn shared by all addresses is taken last: an address at its maximum waits for its own
        // slots and must not hold up others.
        let (_own, _turn) = match wanting {
            Wanting::Crowd(origin) => {
                let own = entry.slots.peers.turn(origin).await;
                looking(counted.slot(), || running.make_room(entry, wanting)).await;
                (Some(own), Some(crowd.acquire().await.ok()?))
            }
            Wanting::Other => (None, None),
        };
        let look = || {
            // While a slot of the handler is free, the job waits for a budget of the daemon. Part of each budget is
            // reserved for handlers that hold little of it.
            if slots.available_permits() == 0 {
                running.make_room(entry, wanting);
            }
        };
        looking(wait(entry, budgets, &mut waits_for), look).await
    };
    let admitted = timeout(limit, admitted).await.ok().flatten();
    admitted.ok_or_else(|| match waits_for {
        QueuedFor::Slot => Fault::QueuedTooLong { name: entry.name.clone(), limit, retry_after },
        QueuedFor::Memory => Fault::MemoryTotal { retry_after },
        QueuedFor::Descriptors => Fault::DescriptorsTotal { retry_after },
    })
}

/// Waits for a future and calls `look` at regular intervals meanwhile.
async fn looking<T>(awaited: impl Future<Output = T>, look: impl Fn()) -> T {
    let mut awaited = pin!(awaited);
    loop {
        tokio::select! {
            biased;
            outcome = awaited.as_mut() => return outcome,
            () = sleep(QUEUE_CHECK) => look(),
        }
    }
}

/// What a queued job waits for.
enum QueuedFor {
    Slot,
    Memory,
    Descriptors,
}

/// Returns the memory pages and descriptors that a job takes from the shared budgets. `None` for a native job.
fn needs(entry: &HandlerVersion) -> Option<(usize, usize)> {
    match entry.kind {
        Kind::Native => None,
        Kind::Core | Kind::Command | Kind::Proxy => {
            let Needs { memory, descriptors } = entry.handler.needs(&entry.limits);
            Some((memory.div_ceil(Needs::PAGE), descriptors))
        }
    }
}

/// Takes everything, if all of it is free now.
fn at_once(entry: &HandlerVersion, budgets: &Budgets) -> Option<(PoolPermit, Option<Allotment>)> {
    let slots = &entry.slots;
    let own = slots.running.clone().try_acquire_owned().ok()?;
    let Some((memory, descriptors)) = needs(entry) else {
        return Some((PoolPermit { _own: own, _shared: None, _counted: None }, None));
    };
    let memory = budgets.memory.try_take(&slots.memory, memory)?;
    let descriptors = budgets.descriptors.try_take(&slots.descriptors, descriptors)?;
    let place = budgets.places.try_take(&slots.places, 1)?;
    Some((
        PoolPermit { _own: own, _shared: Some(place), _counted: None },
        Some(Allotment { memory, descriptors }),
    ))
}

/// Waits for each budget in turn. Returns `None` if one of them can never be granted. The daemon-wide place is taken
/// last, so only jobs that run hold one.
async fn wait(
    entry: &HandlerVersion,
    budgets: &Budgets,
    waits_for: &mut QueuedFor,
) -> Option<(PoolPermit, Option<Allotment>)> {
    let slots = &entry.slots;
    let own = slots.running.clone().acquire_owned().await.ok()?;
    let Some((memory, descriptors)) = needs(entry) else {
        return Some((PoolPermit { _own: own, _shared: None, _counted: None }, None));
    };
    *waits_for = QueuedFor::Memory;
    let memory = budgets.memory.take(&slots.memory, memory).await?;
    *waits_for = QueuedFor::Descriptors;
    let descriptors = budgets.descriptors.take(&slots.descriptors, descriptors).await?;
    *waits_for = QueuedFor::Slot;
    let place = budgets.places.take(&slots.places, 1).await?;
    Some((
        PoolPermit { _own: own, _shared: Some(place), _counted: None },
        Some(Allotment { memory, descriptors }),
    ))
}
