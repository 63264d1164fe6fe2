//! The state of a rate limit: a fixed number of slots, whatever the number of clients.

use std::sync::{Mutex, OnceLock, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;

/// The slots that a key may use. The fewer there are, the sooner a key that waits loses its slot to another.
const WAYS: usize = 8;

/// The sets of slots for a limit by clients: 65,536 slots in all, which are 1.1 MiB.
const SETS: usize = 8192;

/// A fixed number of slots, each for one key. Costs nothing until the first request.
///
/// A set of slots is chosen by the hash of the key, as in a processor's cache. A new key takes the slot of the set that
/// has been idle longest, and an idle slot says nothing. So a flood of keys costs no memory, and no search takes longer
/// than [`WAYS`] steps. If more than [`WAYS`] keys of a set are busy at once, the one nearest to idle starts afresh. The
/// hash has a random key, so clients cannot choose a set.
pub(super) struct RateSlots {
    sets: OnceLock<Box<[Mutex<[RateSlot; WAYS]>]>>,
    count: usize,
}

/// The state of one key. All zero is a slot that was never used.
#[derive(Clone, Copy, Default)]
struct RateSlot {
    key: u64,
    /// When the next request is expected, in nanoseconds since the limiter was made.
    due: u64,
}

impl RateSlots {
    /// Makes slots for many keys.
    pub(super) fn many() -> RateSlots {
        RateSlots { sets: OnceLock::new(), count: SETS }
    }

    /// Makes slots for one key.
    pub(super) fn one() -> RateSlots {
        RateSlots { sets: OnceLock::new(), count: 1 }
    }
}

impl StateStore for RateSlots {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let sets = self.sets.get_or_init(|| (0..self.count).map(|_| Mutex::default()).collect());
        let set = usize::try_from(key % self.count as u64).unwrap_or_default();
        let mut slots = sets[set].lock().unwrap_or_else(PoisonError::into_inner);
        let found = slots.iter().position(|slot| slot.key == *key && slot.due > 0);
        let before = found.map(|at| Nanos::new(slots[at].due));
        let (outcome, due) = measure(before)?;
        let idlest = || slots.iter().enumerate().min_by_key(|(_, slot)| slot.due).map_or(0, |(at, _)| at);
        let at = found.unwrap_or_else(idlest);
        slots[at] = RateSlot { key: *key, due: due.as_u64().max(1) };
        Ok(outcome)
    }
}
