//! Counts the memory of one job, summed over all its memories and tables.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, Result};

use super::settings::COMPONENT;
use crate::job::Usage;

/// Bytes of a table slot: a pointer on a 64-bit host.
const TABLE_ELEMENT: usize = 8;

/// What a job has and may have, in bytes.
///
/// wasmtime's own `StoreLimits` bounds each memory alone, so that a module with ten memories would
/// get ten times its limit; this one bounds their sum.
pub(super) struct Meter {
    used: usize,
    most: usize,
    refused: bool,
    /// Told of every growth, which is a few times in the life of a job.
    usage: Arc<Usage>,
}

impl Meter {
    pub(super) fn new(most: usize, usage: Arc<Usage>) -> Meter {
        Meter { used: 0, most, refused: false, usage }
    }

    /// Reports whether the guest was ever refused memory: if it traps after that, this is why.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    /// Says how much the guest may have, in bytes.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Charges another job from now on, with what is held already.
    pub(super) fn charge(&mut self, usage: Arc<Usage>) {
        self.refused = false;
        self.usage = usage;
        self.usage.hold(self.used);
    }

    /// Charges what is asked for, unless it is `forbidden` by the module itself: wasmtime 48.0.8 asks us
    /// first and refuses then.
    fn grow(&mut self, by: usize, forbidden: bool) -> bool {
        let total = self.used.checked_add(by).filter(|total| *total <= self.most);
        self.refused |= total.is_none();
        if forbidden {
            return true;
        }
        self.used = total.unwrap_or(self.used);
        self.usage.hold(self.used);
        total.is_some()
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(desired.saturating_sub(current), beyond(desired, maximum)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT), beyond(desired, maximum)))
    }

    // What a component may be made of where there is no pool to say so: what an instance is itself, and
    // the address space of a memory, count for no limit.

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

/// Reports whether a module forbids this much by itself; one that says nothing forbids 4 GiB.
fn beyond(desired: usize, maximum: Option<usize>) -> bool {
    maximum.is_some_and(|most| desired > most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_memories_share_one_limit() {
        let mut meter = Meter::new(100, Arc::default());
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(meter.memory_growing(0, 40, None).unwrap());
        assert!(!meter.refused());
        assert!(!meter.memory_growing(40, 41, None).unwrap());
        assert!(meter.refused());
    }

    #[test]
    fn a_guest_that_was_refused_may_ask_for_less() {
        let mut meter = Meter::new(100, Arc::default());
        assert!(!meter.memory_growing(0, 101, None).unwrap());
        assert!(meter.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn what_the_module_forbids_itself_is_not_charged() {
        let mut meter = Meter::new(100, Arc::default());
        assert!(meter.memory_growing(0, 90, Some(50)).unwrap());
        assert!(meter.memory_growing(0, 50, Some(50)).unwrap());
        assert!(meter.table_growing(0, 6, Some(5)).unwrap());
        assert!(meter.memory_growing(0, 50, None).unwrap());
        assert!(!meter.refused());
    }

    #[test]
    fn tables_count_by_their_slots_and_nothing_overflows() {
        let mut meter = Meter::new(80, Arc::default());
        assert!(meter.table_growing(0, 10, None).unwrap());
        assert!(!meter.table_growing(10, 11, None).unwrap());
        assert!(!meter.table_growing(0, usize::MAX, None).unwrap());
    }

    #[test]
    fn a_store_without_a_pool_has_no_more_parts_than_one_with_it() {
        let engine = wasmtime::Engine::default();
        let most = |text: &str| {
            let module = wasmtime::Module::new(&engine, wat::parse_str(text).unwrap()).unwrap();
            let mut store = wasmtime::Store::new(&engine, Meter::new(1 << 20, Arc::default()));
            store.limiter(|meter| meter);
            (0..100).take_while(|_| wasmtime::Instance::new(&mut store, &module, &[]).is_ok()).count()
        };

        assert_eq!((most("(module)"), most("(module (memory 0))")), (40, 2));
        assert_eq!(most("(module (table 0 funcref))"), 16);
    }
}
