//! The pointer to the catalog that serves; a reload or a swap replaces it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;

use super::generation::Catalog;
use super::replaced::Replaced;
use crate::job::VersionCounts;

/// The pointer to the serving catalog. Readers never wait for a writer.
#[derive(Default)]
pub struct Live {
    serving: ArcSwap<Catalog>,
    replaced: Mutex<Replaced>,
    published: Mutex<Option<SystemTime>>,
}

/// The error of publishing a catalog whose predecessor no longer serves: two reloads overlapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stale {
    /// The generation that would have been accepted.
    pub wanted: u64,
    /// The generation that was offered.
    pub found: u64,
}

impl Live {
    /// Starts with the empty generation 0.
    pub fn new() -> Live {
        Live::default()
    }

    /// Returns the catalog that serves now, and keeps it alive. Never blocks.
    pub fn pin(&self) -> Arc<Catalog> {
        self.serving.load_full()
    }

    /// Makes `next` the serving catalog, and returns the one it replaces. Never blocks.
    ///
    /// # Errors
    /// [`Stale`] if another catalog was published since `next` was made from its predecessor ([`Catalog::next`]).
    /// Nothing is replaced, because that would undo the other change.
    pub fn publish(&self, next: impl Into<Arc<Catalog>>) -> Result<Arc<Catalog>, Stale> {
        let next = next.into();
        let old = self.pin();
        let stale = |serving: &Catalog| Stale { wanted: serving.generation + 1, found: next.generation };
        if next.generation != old.generation + 1 {
            return Err(stale(&old));
        }
        let before = self.serving.compare_and_swap(&old, next.clone());
        if !Arc::ptr_eq(&before, &old) {
            return Err(stale(&before));
        }
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemTime::now());
        self.replaced().follow(&old, &next, Instant::now());
        Ok(old)
    }

    /// Returns when the serving catalog was published. `None` before the first one.
    pub fn published(&self) -> Option<SystemTime> {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the counters of versions that no longer serve, if jobs of them are running or ended in the last few
    /// minutes.
    pub fn former(&self) -> Vec<VersionCounts> {
        self.replaced().counts(&self.pin(), Instant::now())
    }

    fn replaced(&self) -> MutexGuard<'_, Replaced> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "generation {} cannot be published: wanted generation {}; another reload or swap came first, try again",
            self.found, self.wanted
        )
    }
}

impl std::error::Error for Stale {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Routes;
    use std::collections::BTreeMap;

    fn after(catalog: &Catalog) -> Catalog {
        catalog.next(BTreeMap::new(), Routes::default())
    }

    #[test]
    fn a_pinned_catalog_outlives_its_replacement() {
        let live = Live::new();
        let pinned = live.pin();

        let old = live.publish(after(&pinned)).unwrap();

        assert!(Arc::ptr_eq(&old, &pinned));
        assert_eq!((pinned.generation, live.pin().generation), (0, 1));
    }

    #[test]
    fn of_two_reloads_that_meet_the_second_is_refused() {
        let live = Live::new();
        let (first, second) = (after(&live.pin()), after(&live.pin()));
        live.publish(first).unwrap();

        let refused = live.publish(second).err();

        assert_eq!(refused, Some(Stale { wanted: 2, found: 1 }));
        assert_eq!(live.pin().generation, 1);
    }

    #[test]
    fn the_time_of_publication_is_that_of_the_catalog_that_serves() {
        let live = Live::new();
        let (first, second) = (after(&live.pin()), after(&live.pin()));
        assert_eq!(live.published(), None);
        live.publish(first).unwrap();
        let published = live.published();

        let refused = live.publish(second);

        assert!(refused.is_err() && published.is_some());
        assert_eq!(live.published(), published);
    }

    #[test]
    fn only_one_of_many_threads_publishes_a_generation() {
        let live = Live::new();
        let start = live.pin();

        let published = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| live.publish(after(&start)).is_ok())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|ok| *ok).count()
        });

        assert_eq!((published, live.pin().generation), (1, 1));
    }
}
