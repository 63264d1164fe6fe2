//! Tests of the heap profiler's samples, with addresses that nothing uses.

use super::*;

/// A single test, because the profiler's state is global to the process.
#[test]
fn what_is_allocated_is_counted_and_what_is_freed_is_not_held() {
    let period = PERIOD as usize;
    assert!(!is_on());
    let run = HeapRun::begin();
    assert!(is_on());

    // Each is far more than the gap to the next sample.
    for number in 1..=10_usize {
        allocated(number << 30, 4 * period);
    }
    let all: u64 = run.counts().values().map(|count| count.allocated).sum();
    for number in 1..=10_usize {
        freed(number << 30);
    }
    freed(77 << 30);

    let counts = run.counts();
    let total = |of: fn(&HeapCount) -> u64| counts.values().map(of).sum::<u64>();
    assert_eq!(all, 40 * u64::from(PERIOD));
    assert_eq!((total(|count| count.allocated), total(|count| count.held)), (all, 0));
    assert_eq!(total(|count| count.holdings), 0);
    assert!(counts.keys().all(|stack| stack.contains("what_is_allocated_is_counted")), "{counts:?}");
    drop(run);
    assert!(!is_on() && samples().is_none());
}

#[test]
fn a_thread_samples_as_many_bytes_as_it_allocates() {
    let thread = HeapThread::new();

    let sampled: u64 = (0..100_000).filter_map(|_| thread.count(1, 1000)).sum();

    let all = 100_000 * 1000;
    assert!(sampled <= all && sampled > all - 2 * u64::from(PERIOD), "{sampled}");
}

#[test]
fn the_functions_of_the_allocator_are_left_out() {
    let functions =
        ["portcullis::observe::heap::samples::allocated", "__rust_alloc", "alloc::vec::push", "main"];

    assert_eq!(shown(&functions.map(str::to_owned)), "main;alloc::vec::push");
    assert_eq!(shown(&[]), "other stacks");
}
