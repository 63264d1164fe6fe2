//! Idle instances that have answered a request and wait for the next one.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::budget::{Budget, Holder, Portion};

/// How long an instance waits for a request before it is dropped.
const INSTANCE_IDLE: Duration = Duration::from_secs(10);

/// The idle instances of one handler version.
pub(in crate::wasm) struct InstancePool<I>(Arc<SharedPool<I>>);

struct SharedPool<I> {
    /// The number of requests after which an instance is dropped.
    requests: NonZeroU32,
    /// Pool permits for idle instances, shared by all handlers.
    places: Arc<Budget>,
    /// The handler's share of them.
    holder: Arc<Holder>,
    kept: Mutex<IdleInstance<I>>,
}

struct IdleInstance<I> {
    /// Ordered by `since`. The last one is the warmest, and is taken first.
    waiting: Vec<WaitingInstances<I>>,
    /// The task that drops instances after `INSTANCE_IDLE`; `None` while none is idle.
    sweeper: Option<AbortHandle>,
}

struct WaitingInstances<I> {
    instance: I,
    since: Instant,
    _place: Portion,
}

impl<I: Send + 'static> InstancePool<I> {
    /// Makes an empty pool. Each instance answers up to `requests` requests, and takes one of `places` while idle.
    pub(in crate::wasm) fn new(requests: NonZeroU32, places: Arc<Budget>) -> InstancePool<I> {
        let kept = Mutex::new(IdleInstance { waiting: Vec::new(), sweeper: None });
        InstancePool(Arc::new(SharedPool { requests, places, holder: Arc::default(), kept }))
    }

    /// Returns how many requests an instance answers.
    pub(in crate::wasm) fn requests(&self) -> NonZeroU32 {
        self.0.requests
    }

    /// Reports whether an instance is idle.
    pub(in crate::wasm) fn has_some(&self) -> bool {
        !self.0.lock().waiting.is_empty()
    }

    /// Takes the instance that became idle last, if there is one.
    pub(in crate::wasm) fn take(&self) -> Option<I> {
        self.0.lock().waiting.pop().map(|waiting| waiting.instance)
    }

    /// Returns an instance to the pool after `answered` successful requests. Drops it if it may answer no more or no
    /// permit is free.
    pub(in crate::wasm) fn keep(&self, instance: I, answered: u32) {
        if answered >= self.0.requests.get() {
            return;
        }
        let Some(place) = self.0.places.try_take(&self.0.holder, 1) else { return };
        let mut kept = self.0.lock();
        let since = Instant::now();
        kept.waiting.push(WaitingInstances { instance, since, _place: place });
        if kept.sweeper.is_none() {
            let shared = Arc::downgrade(&self.0);
            kept.sweeper = Some(tokio::spawn(sweep(shared, since + INSTANCE_IDLE)).abort_handle());
        }
    }
}

impl<I> SharedPool<I> {
    fn lock(&self) -> MutexGuard<'_, IdleInstance<I>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops instances that were idle for too long. Returns when to look again, or `None` if none is left.
    fn sweep(&self) -> Option<Instant> {
        let mut kept = self.lock();
        let fresh = kept.waiting.iter().position(|waiting| waiting.since.elapsed() < INSTANCE_IDLE);
        let stale: Vec<WaitingInstances<I>> = match fresh {
            Some(first) => kept.waiting.drain(..first).collect(),
            None => std::mem::take(&mut kept.waiting),
        };
        let next = kept.waiting.first().map(|oldest| oldest.since + INSTANCE_IDLE);
        if next.is_none() {
            kept.sweeper = None;
        }
        // Unlocked first: dropping an instance takes time.
        drop(kept);
        drop(stale);
        next
    }
}

impl<I> Drop for SharedPool<I> {
    fn drop(&mut self) {
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(sweeper) = kept.sweeper.take() {
            sweeper.abort();
        }
    }
}

/// Drops instances that are idle for too long. Ends when none is left or the handler is gone.
async fn sweep<I>(shared: Weak<SharedPool<I>>, first: Instant) {
    let mut next = first;
    loop {
        sleep_until(next).await;
        let Some(shared) = shared.upgrade() else { return };
        match shared.sweep() {
            Some(later) => next = later,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(requests: u32, places: usize) -> InstancePool<&'static str> {
        InstancePool::new(NonZeroU32::new(requests).unwrap(), Budget::new(places))
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_waited_least_is_taken_first() {
        let idle = idle(9, 2);
        idle.keep("one", 1);
        idle.keep("two", 1);
        idle.keep("no place", 1);

        assert_eq!([idle.take(), idle.take(), idle.take()], [Some("two"), Some("one"), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_answered_often_enough_is_dropped() {
        let idle = idle(3, 9);
        idle.keep("worn", 3);
        assert_eq!(idle.take(), None);
        idle.keep("fresh", 2);
        assert_eq!(idle.take(), Some("fresh"));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_in_vain_are_dropped_and_give_their_places_back() {
        let idle = idle(9, 2);
        idle.keep("old", 1);
        tokio::time::advance(INSTANCE_IDLE / 2).await;
        idle.keep("young", 1);

        tokio::time::sleep(INSTANCE_IDLE * 2 / 3).await;
        assert_eq!(idle.0.lock().waiting.len(), 1);
        tokio::time::sleep(INSTANCE_IDLE).await;

        assert_eq!(idle.take(), None);
        assert_eq!(idle.0.places.used(), 0);
        assert!(idle.0.lock().sweeper.is_none(), "nobody sweeps where nothing waits");
    }
}
