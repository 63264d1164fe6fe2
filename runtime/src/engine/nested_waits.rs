//! Jobs that wait for a slot while others wait for them, and the waits among these that would never end.
//!
//! A caller holds its slot while the job that it calls waits for one, and so does a middleware while a job behind it does.
//! Where two handlers call one another, or two routes have the same middlewares in opposite orders, each may hold the
//! slots that the other waits for.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::job::{HandlerVersion, Job};

/// The jobs that wait for a slot while others wait for them.
#[derive(Default)]
pub(super) struct NestedWaits(Mutex<OpenWaits>);

#[derive(Default)]
struct OpenWaits {
    /// The next number.
    next: u64,
    list: Vec<NestedWait>,
}

/// A job that waits for a slot while others wait for it.
struct NestedWait {
    number: u64,
    /// The version whose slot it waits for.
    wanted: Arc<HandlerVersion>,
    /// Its callers and the middlewares in front of it. Each holds a slot until the job has ended.
    held: Vec<Arc<HandlerVersion>>,
    /// The address for which all of them count.
    origin: Option<IpAddr>,
}

/// One wait. Dropping it ends the wait.
pub(super) struct NestedWaitGuard<'a> {
    waits: &'a NestedWaits,
    number: u64,
}

/// A limit of slots: of a handler, or of one address there.
#[derive(Clone, Copy)]
struct SlotPool<'a> {
    entry: &'a HandlerVersion,
    /// `None` for all slots of the handler.
    origin: Option<IpAddr>,
}

impl NestedWaits {
    /// Notes that a job begins to wait for a slot. Returns `None` if the wait would never end: every slot that it could get
    /// is held for a job that waits in the same way, or for itself.
    ///
    /// The last of the jobs in a circle notices it, so no circle ever forms.
    pub(super) fn begin(&self, job: &Job) -> Option<NestedWaitGuard<'_>> {
        let mut waits = self.waits();
        let number = waits.next;
        waits.next += 1;
        let (wanted, held) = (job.entry.clone(), job.around.clone());
        waits.list.push(NestedWait { number, wanted, held, origin: job.origin });
        if is_endless(&waits.list) {
            waits.list.pop();
            return None;
        }
        Some(NestedWaitGuard { waits: self, number })
    }

    fn waits(&self) -> MutexGuard<'_, OpenWaits> {
        // A poisoned lock is harmless: the value is consistent after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NestedWaitGuard<'_> {
    fn drop(&mut self) {
        self.waits.waits().list.retain(|wait| wait.number != self.number);
    }
}

/// Reports whether the last of these waits never ends.
fn is_endless(waits: &[NestedWait]) -> bool {
    let Some(last) = waits.last() else { return false };
    let mut blocked: Vec<&NestedWait> = waits.iter().collect();
    // Removes the waits that end, then the waits that end because of these.
    loop {
        if last.ends(&blocked) {
            return false;
        }
        let left: Vec<&NestedWait> = blocked.iter().copied().filter(|wait| !wait.ends(&blocked)).collect();
        if left.len() == blocked.len() {
            return true;
        }
        blocked = left;
    }
}

impl NestedWait {
    /// Reports whether a slot becomes free for the job even if the `blocked` waits never end.
    fn ends(&self, blocked: &[&NestedWait]) -> bool {
        let entry = &*self.wanted;
        let all = SlotPool { entry, origin: None };
        let own = self.origin.map(|origin| SlotPool { entry, origin: Some(origin) });
        own.into_iter().chain([all]).all(|pool| pool.has_room(blocked))
    }
}

impl SlotPool<'_> {
    /// Reports whether a slot is free, or held by a job that waits for none of the `blocked` ones.
    fn has_room(self, blocked: &[&NestedWait]) -> bool {
        let SlotPool { entry, origin } = self;
        let (taken, most) = match origin {
            None => (entry.slots.taken(&entry.limits).running, entry.limits.concurrency),
            Some(origin) => (entry.slots.peers.running(origin), entry.limits.max_per_address()),
        };
        taken < most || taken > blocked.iter().map(|wait| self.held_for(wait)).sum::<usize>()
    }

    /// Returns how many of the slots are held for a job that waits.
    fn held_for(self, wait: &NestedWait) -> usize {
        if self.origin.is_some() && self.origin != wait.origin {
            return 0;
        }
        let is_of_the_pool =
            |held: &&Arc<HandlerVersion>| Arc::ptr_eq(&held.slots.running, &self.entry.slots.running);
        wait.held.iter().filter(is_of_the_pool).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::idle;
    use crate::job::{Limits, Slots};

    /// Makes a handler version whose slots are all taken.
    fn full(name: &str, concurrency: usize) -> Arc<HandlerVersion> {
        let limits = Limits { concurrency, ..Limits::default() };
        let slots = Slots::new(&limits);
        slots.running.try_acquire_many(u32::try_from(concurrency).unwrap()).unwrap().forget();
        Arc::new(HandlerVersion { limits, slots, ..HandlerVersion::idle(name) })
    }

    /// Makes a job of a version for which jobs of these versions wait.
    fn behind(around: &[&Arc<HandlerVersion>], wanted: &Arc<HandlerVersion>) -> Job {
        let mut job = *idle::engine().job_of(wanted.clone());
        job.around = around.iter().copied().cloned().collect();
        job
    }

    #[test]
    fn the_last_wait_of_a_circle_is_refused_and_the_others_go_on() {
        let (one, two) = (full("one", 1), full("two", 1));
        let waits = NestedWaits::default();

        let first = waits.begin(&behind(&[&one], &two));
        assert!(first.is_some(), "the slot of two is held by a job that waits for nothing");
        assert!(waits.begin(&behind(&[&two], &one)).is_none());

        drop(first);
        assert!(waits.begin(&behind(&[&two], &one)).is_some());
    }

    #[test]
    fn a_wait_goes_on_while_one_slot_is_held_by_a_job_that_waits_for_nothing() {
        let (one, two, three) = (full("one", 2), full("two", 2), full("three", 1));
        let waits = NestedWaits::default();
        let begin = |around: &[&Arc<HandlerVersion>], wanted| waits.begin(&behind(around, wanted));

        let _a = begin(&[&one], &two).unwrap();
        let _b = begin(&[&one], &two).unwrap();
        let _c = begin(&[&two], &one).unwrap();
        // Its slot of two is held for a slot of three, which becomes free.
        let _d = begin(&[&two], &three).unwrap();
        assert!(begin(&[&three], &two).is_none(), "now all slots of three are held for two");
        three.slots.running.add_permits(1);
        assert!(begin(&[&three], &two).is_some());
    }

    #[test]
    fn a_handler_that_calls_itself_does_not_wait_for_its_own_slot() {
        let (one, two) = (full("one", 1), full("two", 2));
        let waits = NestedWaits::default();

        assert!(waits.begin(&behind(&[&one], &one)).is_none());
        assert!(waits.begin(&behind(&[&two], &two)).is_some(), "the other slot becomes free");
    }

    #[test]
    fn an_address_that_holds_all_it_may_have_is_in_a_circle_with_itself_alone() {
        let (one, two) = (full("one", 64), full("two", 64));
        let (own, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut counted = Vec::new();
        for entry in [&one, &two] {
            let max = entry.limits.max_per_address();
            for _ in 0..max {
                let mut guard = entry.slots.peers.enter(Some(own), max);
                assert!(guard.take_slot());
                counted.push(guard);
            }
            // The others leave some slots to other addresses.
            entry.slots.running.add_permits(64 - max);
        }
        let waits = NestedWaits::default();
        let begin = |origin, around: &Arc<HandlerVersion>, wanted: &Arc<HandlerVersion>| {
            let mut job = behind(&[around], wanted);
            job.origin = Some(origin);
            waits.begin(&job)
        };
        let max = one.limits.max_per_address();

        let waiting: Vec<_> = (0..max).map(|_| begin(own, &one, &two).unwrap()).collect();
        let opposite: Vec<_> = (0..max).map_while(|_| begin(own, &two, &one)).collect();

        assert_eq!((waiting.len(), opposite.len()), (max, max - 1));
        assert!(begin(other, &two, &one).is_some());
    }
}
