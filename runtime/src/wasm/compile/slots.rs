//! A bound on how many children compile at once.

use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, PoisonError};

/// Places that are taken and given back; who finds none waits.
pub(super) struct Slots {
    free: Mutex<usize>,
    given_back: Condvar,
}

/// A place. Dropping it gives it back.
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    /// Makes as many places as leave a core to the requests, but no more than two: each may come to
    /// use 2 GiB.
    pub(super) fn of_host() -> Slots {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Slots::new(cores.saturating_sub(1).clamp(1, 2))
    }

    fn new(count: usize) -> Slots {
        Slots { free: Mutex::new(count), given_back: Condvar::new() }
    }

    /// Waits for a place: not for ever, since a child has a deadline.
    pub(super) fn take(&self) -> Slot<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            self.given_back.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_than_there_are_places_hold_one() {
        let slots = Slots::new(2);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));

        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _slot = slots.take();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });

        assert!(most.into_inner() <= 2);
    }
}
