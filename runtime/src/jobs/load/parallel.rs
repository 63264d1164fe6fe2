//! Runs the same work on several handlers in parallel.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The maximum number of handlers that are read, checked or waited for in parallel. The sandbox has its own limit on
/// compiling.
const AT_ONCE: usize = 4;

/// Calls `work` on each item, and returns the results in the order of the items.
pub(super) fn each<T: Sync, R: Send + Sync>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let places: Vec<OnceLock<R>> = items.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let take = || {
        while let Some((item, place)) = at(items, &places, next.fetch_add(1, Ordering::Relaxed)) {
            place.get_or_init(|| work(item));
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 1..items.len().min(cores.clamp(2, AT_ONCE)) {
            // If no thread can be started, this one does all the work.
            let _joined_by_scope = thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, take);
        }
        take();
    });
    let set = "each position was taken, and what was taken was set";
    places.into_iter().map(|place| place.into_inner().expect(set)).collect()
}

/// Pairs an item with the place for its result.
fn at<'a, T, R>(items: &'a [T], places: &'a [R], position: usize) -> Option<(&'a T, &'a R)> {
    items.get(position).zip(places.get(position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_at_once_is_returned_in_order() {
        let numbers: Vec<usize> = (0..1000).collect();

        assert_eq!(each(&numbers, |number| number * 2), (0..2000).step_by(2).collect::<Vec<_>>());
        assert!(each(&[], |number: &usize| *number).is_empty());
    }
}
