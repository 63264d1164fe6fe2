//! Limits how many compiler processes run at once.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::observe::{available, cgroup};

/// A counting semaphore with a limit that may differ for each caller.
pub(super) struct CompileSlots {
    taken: Mutex<usize>,
    given_back: Condvar,
    /// Whether the daemon also serves requests.
    serving: AtomicBool,
}

/// A permit for one compiler process. Dropping it releases the permit.
pub(super) struct CompileSlot<'a>(&'a CompileSlots);

impl CompileSlots {
    pub(super) fn new() -> CompileSlots {
        CompileSlots { taken: Mutex::default(), given_back: Condvar::new(), serving: AtomicBool::new(false) }
    }

    /// Reserves a core for requests from now on.
    pub(super) fn serve(&self) {
        self.serving.store(true, Ordering::Relaxed);
    }

    /// Waits for a permit, when each compiler process may use `memory` bytes. The wait is bounded, since
    /// each process has a deadline.
    pub(super) fn take(&self, memory: u64) -> CompileSlot<'_> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let machine = available();
        let there = machine.into_iter().chain(cgroup::available()).min();
        self.take_of(max(cores, self.serving.load(Ordering::Relaxed), there, memory))
    }

    fn take_of(&self, max: usize) -> CompileSlot<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken =
            self.given_back.wait_while(taken, |taken| *taken >= max).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        CompileSlot(self)
    }
}

impl Drop for CompileSlot<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        // All waiters are notified, since their limits may differ.
        self.0.given_back.notify_all();
    }
}

/// Returns the most compiler processes: one for each core, up to four. While requests are served, it is
/// one core less and at most two. It is never more than the available memory `there` allows, but at least
/// one.
fn max(cores: usize, serving: bool, there: Option<u64>, memory: u64) -> usize {
    let by_cores = if serving { cores.saturating_sub(1).min(2) } else { cores.min(4) };
    let by_memory = there.map(|there| usize::try_from(there / memory.max(1)).unwrap_or(usize::MAX));
    by_cores.min(by_memory.unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn no_more_than_there_are_places_hold_one() {
        let slots = CompileSlots::new();
        let (inside, max) = (AtomicUsize::new(0), AtomicUsize::new(0));

        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _slot = slots.take_of(2);
                    max.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });

        assert!(max.into_inner() <= 2);
    }

    #[test]
    fn a_start_uses_every_core_that_there_is_memory_for_and_leaves_one_to_requests() {
        const CHILD: u64 = 2 << 30;
        let there = |gibibytes: u64| Some(gibibytes << 30);

        assert_eq!(max(2, false, there(16), CHILD), 2);
        assert_eq!(max(2, true, there(16), CHILD), 1);
        assert_eq!(max(64, false, None, CHILD), 4);
        assert_eq!(max(64, true, None, CHILD), 2);
        assert_eq!((max(4, false, there(5), CHILD), max(4, false, there(1), CHILD)), (2, 1));
        assert_eq!(max(1, true, there(16), CHILD), 1);
    }
}
