//! Counts the memory of one job, summed over all its memories and tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use wasmtime::{OutOfMemory, ResourceLimiter, Result};

use crate::budget::Portion;
use crate::job::{Fault, Needs, Usage};
use crate::wasm::engine::settings::COMPONENT;

/// Bytes of a table slot: a pointer on a 64-bit host.
pub(super) const TABLE_ELEMENT: usize = 8;

/// The bytes of an operation that are not charged. A guest that has used all of its memory can still write and read small
/// values.
const UNCHARGED: usize = 64 << 10;

/// Bytes of memory that a job has and may have.
///
/// wasmtime's own `StoreLimits` bounds each memory alone: a module with ten memories would get ten times
/// its limit. This meter bounds their sum.
pub(in crate::wasm) struct Meter {
    used: usize,
    max: usize,
    /// Bytes of `used` that the host holds for the guest, by [`KeptFor`].
    kept: [usize; 2],
    /// Bytes of `used` whose [`HeldMemory`] was dropped. The next charge subtracts them. `None` until there is one.
    returned: Option<Arc<AtomicUsize>>,
    /// Bytes of the latest growth that was granted.
    granted: usize,
    /// Why the latest growth was refused. `None` again once a later growth succeeds: the guest copes with less.
    refused: Option<MemoryRefusal>,
    /// Notified of every growth; a job grows only a few times.
    usage: Arc<Usage>,
    /// The job's share of the memory of all jobs, never less than `used`; `None` if it is not counted there.
    portion: Option<Portion>,
}

/// What the host holds bytes for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeptFor {
    /// An operation on a store, or its result.
    Store,
    /// A statement, or its result.
    Database,
}

/// Bytes that the host holds for a guest that goes on meanwhile. Dropping it ends the charge.
#[derive(Default)]
pub(super) struct HeldMemory {
    bytes: usize,
    returned: Arc<AtomicUsize>,
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.returned.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Why a guest was refused memory.
#[derive(PartialEq, Eq, Debug)]
enum MemoryRefusal {
    /// Its own limit is reached.
    Own,
    /// The memory that all jobs share is exhausted.
    Shared,
    /// The host has no memory for a growth that was granted; holds its error.
    Host(String),
}

impl Meter {
    pub(in crate::wasm) fn new(max: usize, usage: Arc<Usage>, portion: Option<Portion>) -> Meter {
        Meter { used: 0, max, kept: [0; 2], returned: None, granted: 0, refused: None, usage, portion }
    }

    /// Returns the reason why a guest trapped or gave up, if its latest growth was refused.
    pub(super) fn fault(&self) -> Option<Fault> {
        Some(match self.refused.as_ref()? {
            MemoryRefusal::Own => Fault::OutOfMemory { limit: self.max, last_line: String::new() },
            MemoryRefusal::Shared => Fault::MemoryTotal { retry_after: Fault::RETRY_AFTER },
            MemoryRefusal::Host(said) => Fault::NoMemory(said.clone()),
        })
    }

    /// Charges another job from now on, including the memory that is held already.
    pub(in crate::wasm) fn charge(&mut self, usage: Arc<Usage>) {
        self.take_back();
        self.refused = None;
        self.usage = usage;
        self.usage.hold(self.used);
    }

    /// Returns the account of the job that is charged.
    pub(in crate::wasm) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Reports whether shared memory is so scarce that no idle instance should hold any.
    pub(in crate::wasm) fn is_scarce(&self) -> bool {
        self.portion.as_ref().is_some_and(Portion::is_scarce)
    }

    /// Charges a growth. A growth that is `forbidden` by the module's own maximum is not charged, and `true` is
    /// returned: wasmtime 48.0.8 asks us first and then refuses it.
    fn grow(&mut self, by: usize, forbidden: bool) -> bool {
        self.take_back();
        let Some(total) = self.used.checked_add(by).filter(|total| *total <= self.max) else {
            self.refused = Some(MemoryRefusal::Own);
            return forbidden;
        };
        if forbidden {
            return true;
        }
        if !self.reach(total) {
            self.refused = Some(MemoryRefusal::Shared);
            return false;
        }
        self.granted = total - self.used;
        self.used = total;
        if by > 0 {
            self.refused = None;
        }
        self.usage.hold(total);
        true
    }

    /// Charges what the host keeps for the guest, in place of what it kept before for the same purpose. Returns `false`
    /// if there is no memory for it. Then nothing is charged, and the guest did not end by it.
    pub(super) fn keep(&mut self, what: KeptFor, bytes: usize) -> bool {
        let place = what as usize;
        if bytes == self.kept[place] {
            return true;
        }
        self.take_back();
        self.used -= std::mem::take(&mut self.kept[place]);
        let total = self.used.checked_add(bytes).filter(|total| *total <= self.max);
        let is_granted = total.is_some_and(|total| self.reach(total));
        if is_granted {
            self.kept[place] = bytes;
            self.used += bytes;
        }
        self.usage.hold(self.used);
        is_granted
    }

    /// Charges what the host holds for the guest beside all else, until the value is dropped. Returns `None` if there is no
    /// memory for it. Then nothing is charged, and the guest did not end by it.
    pub(super) fn hold(&mut self, bytes: usize) -> Option<HeldMemory> {
        self.take_back();
        let total = self.used.checked_add(bytes).filter(|total| *total <= self.max)?;
        if !self.reach(total) {
            return None;
        }
        self.used = total;
        self.usage.hold(total);
        Some(HeldMemory { bytes, returned: self.returned.get_or_insert_default().clone() })
    }

    /// Subtracts the bytes whose [`HeldMemory`] was dropped. Its owner cannot reach the meter.
    fn take_back(&mut self) {
        if let Some(returned) = &self.returned {
            self.used -= returned.swap(0, Ordering::Relaxed);
        }
    }

    /// Takes the pages that are missing for `total` bytes. Takes an eighth of the current share instead
    /// if that is more and available, because a guest that grows once tends to grow again.
    fn reach(&mut self, total: usize) -> bool {
        let Some(portion) = &mut self.portion else { return true };
        let pages = |bytes: usize| bytes.div_ceil(Needs::PAGE);
        let missing = pages(total).saturating_sub(portion.units());
        let ahead = (portion.units() / 8).min(pages(self.max).saturating_sub(portion.units()));
        missing == 0 || ahead > missing && portion.grow(ahead) || portion.grow(missing)
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(desired.saturating_sub(current), beyond(desired, maximum)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT), beyond(desired, maximum)))
    }

    // Also called for a growth that the module's own maximum forbids.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        if let Some(said) = shortage(&error) {
            self.used -= std::mem::take(&mut self.granted);
            self.refused = Some(MemoryRefusal::Host(said));
        }
        Ok(())
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.memory_grow_failed(error)
    }

    // Bounds of a component without a pool, which would enforce them otherwise: an instance itself, and
    // the address space of a memory, count for no other limit.

    fn instances(&self) -> usize {
        COMPONENT.instances as usize
    }

    fn tables(&self) -> usize {
        COMPONENT.tables as usize
    }

    fn memories(&self) -> usize {
        COMPONENT.memories as usize
    }
}

/// Returns how many of the bytes of an operation count as memory of the job.
pub(super) fn charged(bytes: usize) -> usize {
    if bytes > UNCHARGED { bytes } else { 0 }
}

/// Reports whether a growth exceeds the module's own maximum; without one, 4 GiB is the maximum.
fn beyond(desired: usize, maximum: Option<usize>) -> bool {
    maximum.is_some_and(|max| desired > max)
}

/// Returns the error text if the host has run out of memory for us: address space, mappings or pages.
pub(super) fn shortage(error: &wasmtime::Error) -> Option<String> {
    let is_shortage = |cause: &(dyn std::error::Error + 'static)| {
        let code = cause.downcast_ref::<Errno>().copied();
        let code = code.or_else(|| cause.downcast_ref().and_then(Errno::from_io_error));
        // mprotect(2) and mmap(2) return both. EAGAIN means that the limit of locked memory is reached.
        matches!(code, Some(Errno::NOMEM | Errno::AGAIN)) || cause.is::<OutOfMemory>()
    };
    error.chain().any(is_shortage).then(|| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    fn meter(max: usize) -> Meter {
        Meter::new(max, Arc::default(), None)
    }

    #[test]
    fn memory_that_all_jobs_share_is_granted_while_there_is_some_and_given_back() {
        // One handler may take fourteen of them at most.
        let budget = Budget::new(16);
        let holder = Arc::default();
        let metered = || Meter::new(1 << 30, Arc::default(), Some(budget.nothing(&holder)));
        let (mut first, mut second) = (metered(), metered());

        assert!(first.memory_growing(0, 10 << 16, None).unwrap());
        assert!(!second.memory_growing(0, 5 << 16, None).unwrap());
        assert!(matches!(second.fault(), Some(Fault::MemoryTotal { .. })), "{:?}", second.fault());
        drop(first);
        assert!(second.memory_growing(0, 13 << 16, None).unwrap());
        assert!(second.table_growing(0, 100, None).unwrap());
        assert_eq!(budget.used(), 14);
        drop(second);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn several_memories_share_one_limit() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(meter.memory_growing(0, 40, None).unwrap());
        assert!(meter.fault().is_none());
        assert!(!meter.memory_growing(40, 41, None).unwrap());
        assert!(matches!(meter.fault(), Some(Fault::OutOfMemory { limit: 100, .. })));
    }

    #[test]
    fn a_guest_that_was_refused_may_ask_for_less() {
        let mut meter = meter(100);
        assert!(!meter.memory_growing(0, 101, None).unwrap());
        assert!(meter.memory_growing(0, 0, None).unwrap());
        assert!(meter.fault().is_some());
        assert!(meter.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn a_guest_that_grew_after_it_was_refused_has_not_ended_by_it() {
        let mut meter = meter(100);
        assert!(!meter.memory_growing(0, 101, None).unwrap());
        assert!(meter.memory_growing(0, 10, None).unwrap());
        assert!(meter.fault().is_none());
        assert!(!meter.memory_growing(10, 101, None).unwrap());
        assert!(matches!(meter.fault(), Some(Fault::OutOfMemory { limit: 100, .. })));
    }

    #[test]
    fn what_the_host_keeps_for_a_guest_is_charged_until_it_is_taken() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 60, None).unwrap());

        assert!(meter.keep(KeptFor::Store, 40));
        assert!(!meter.memory_growing(60, 61, None).unwrap());
        // It replaces what was kept before. If there is no memory for it, nothing is kept.
        assert!(!meter.keep(KeptFor::Store, 41));
        assert!(meter.keep(KeptFor::Store, 20) && meter.keep(KeptFor::Database, 20));
        assert!(!meter.keep(KeptFor::Database, 21) && meter.keep(KeptFor::Store, 0));
        assert!(meter.memory_growing(60, 100, None).unwrap());
        assert!(meter.keep(KeptFor::Store, 0) && !meter.keep(KeptFor::Store, 1));

        let budget = Budget::new(16);
        let mut shared = Meter::new(1 << 30, Arc::default(), Some(budget.nothing(&Arc::default())));
        assert!(shared.keep(KeptFor::Store, 10 << 16) && !shared.keep(KeptFor::Store, 20 << 16));
        assert!(shared.fault().is_none());
        drop(shared);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_awaited_operations_hold_is_charged_together_until_it_is_dropped() {
        let mut meter = meter(100);
        let held = [meter.hold(30), meter.hold(30)];

        assert!(held.iter().all(Option::is_some) && meter.hold(41).is_none());
        assert!(!meter.keep(KeptFor::Database, 41));
        assert!(!meter.memory_growing(0, 41, None).unwrap());
        drop(held);
        assert!(meter.memory_growing(0, 60, None).unwrap());

        assert!(meter.hold(41).is_none() && meter.keep(KeptFor::Database, 40));
        drop(meter.hold(0));
        assert!(meter.keep(KeptFor::Database, 0));
        assert!(meter.hold(40).is_some());
        assert!(meter.memory_growing(60, 100, None).unwrap());
    }

    #[test]
    fn what_the_module_forbids_itself_is_not_charged() {
        let mut meter = meter(100);
        assert!(meter.memory_growing(0, 90, Some(50)).unwrap());
        assert!(meter.memory_growing(0, 50, Some(50)).unwrap());
        assert!(meter.table_growing(0, 6, Some(5)).unwrap());
        assert!(meter.memory_growing(0, 50, None).unwrap());
        assert!(meter.fault().is_none());
    }

    #[test]
    fn tables_count_by_their_slots_and_nothing_overflows() {
        let mut meter = meter(80);
        assert!(meter.table_growing(0, 10, None).unwrap());
        assert!(!meter.table_growing(10, 11, None).unwrap());
        assert!(!meter.table_growing(0, usize::MAX, None).unwrap());
    }

    #[test]
    fn a_store_without_a_pool_has_no_more_parts_than_one_with_it() {
        let engine = wasmtime::Engine::default();
        let max = |text: &str| {
            let module = wasmtime::Module::new(&engine, wat::parse_str(text).unwrap()).unwrap();
            let mut store = wasmtime::Store::new(&engine, meter(1 << 20));
            store.limiter(|meter| meter);
            (0..100).take_while(|_| wasmtime::Instance::new(&mut store, &module, &[]).is_ok()).count()
        };

        assert_eq!((max("(module)"), max("(module (memory 0))")), (40, 2));
        assert_eq!(max("(module (table 0 funcref))"), 16);
    }
}
