//! A lock-free histogram of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per power of two: a duration is known to an eighth of itself.
const PARTS: u64 = 1 << PART_BITS;
const PART_BITS: u32 = 3;

/// Enough for 2^45 microseconds, about a year. The last bucket also counts longer durations.
const BUCKETS: usize = 44 << PART_BITS;

/// Counts times in microseconds.
pub(super) struct Histogram {
    count: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Histogram {
    /// Counts a duration.
    pub(super) fn note(&self, time: Duration) {
        self.buckets[bucket(time)].fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of durations counted.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the duration that at most one in a hundred exceeds, rounded up. `None` if nothing was counted.
    pub(super) fn p99(&self) -> Option<Duration> {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let above = counts.iter().sum::<u64>() / 100;
        let mut left = above + 1;
        let last = counts.iter().enumerate().rev().find(|(_, count)| {
            left = left.saturating_sub(**count);
            left == 0
        });
        last.map(|(position, _)| Duration::from_micros(lower(position + 1)))
    }

    /// Counts the durations that are certainly longer than `bound`.
    pub(super) fn beyond(&self, bound: Duration) -> u64 {
        let longer = self.buckets.iter().skip(bucket(bound) + 1);
        longer.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { count: AtomicU64::new(0), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

/// Returns the bucket of a duration.
fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let Some(shift) = micros.checked_ilog2().and_then(|power| power.checked_sub(PART_BITS)) else {
        // Each value below 8 has its own bucket.
        return usize::try_from(micros).unwrap_or(BUCKETS - 1);
    };
    let position = u64::from(shift) * PARTS + (micros >> shift);
    usize::try_from(position).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// Returns the shortest duration of a bucket, in microseconds.
fn lower(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    match (bucket / PARTS).checked_sub(1) {
        Some(shift) => (PARTS + bucket % PARTS) << shift,
        None => bucket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times(micros: impl IntoIterator<Item = u64>) -> Histogram {
        let times = Histogram::default();
        micros.into_iter().for_each(|micros| times.note(Duration::from_micros(micros)));
        times
    }

    #[test]
    fn one_in_a_hundred_does_not_count_and_two_do() {
        assert_eq!(times([]).p99(), None);
        let one = times((0..99).map(|_| 100).chain([1_000_000]));
        let two = times((0..98).map(|_| 100).chain([1_000_000, 1_000_000]));

        assert!(one.p99().unwrap() <= Duration::from_micros(113), "{:?}", one.p99());
        assert!(two.p99().unwrap() >= Duration::from_secs(1), "{:?}", two.p99());
        assert_eq!((one.beyond(Duration::from_millis(1)), two.beyond(Duration::from_millis(1))), (1, 2));
    }

    proptest! {
        #[test]
        fn a_time_lies_in_its_bucket(micros in 0u64..1 << 44) {
            let position = bucket(Duration::from_micros(micros));

            prop_assert!(lower(position) <= micros && micros < lower(position + 1));
            prop_assert!(lower(position + 1) - lower(position) <= 1.max(micros / 8));
        }

        #[test]
        fn no_time_is_too_long(time: Duration) {
            prop_assert_eq!(times([u64::try_from(time.as_micros()).unwrap_or(u64::MAX)]).count(), 1);
        }
    }
}
