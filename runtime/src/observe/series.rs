//! `SeriesLimit`: bounds how many sets of labels a metric has at once.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Grants permits for sets of labels, up to a maximum. What gets none is counted under `other`.
#[derive(Debug)]
pub struct SeriesLimit {
    taken: AtomicUsize,
    max: usize,
}

/// The permit of one set of labels. Dropping it lets another set have it.
#[derive(Debug)]
pub struct SeriesPermit(&'static SeriesLimit);

impl SeriesLimit {
    /// Makes a limit of `max` permits.
    pub const fn new(max: usize) -> SeriesLimit {
        SeriesLimit { taken: AtomicUsize::new(0), max }
    }

    /// Takes a permit, if one is left.
    pub fn take(&'static self) -> Option<SeriesPermit> {
        let more = |taken: usize| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(SeriesPermit(self))
    }
}

impl Drop for SeriesPermit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_permits_are_granted_as_the_limit_has_and_a_dropped_one_is_granted_again() {
        static LIMIT: SeriesLimit = SeriesLimit::new(2);
        let (one, two) = (LIMIT.take(), LIMIT.take());
        assert!(one.is_some() && two.is_some() && LIMIT.take().is_none());

        drop(one);

        assert!(LIMIT.take().is_some());
    }
}
