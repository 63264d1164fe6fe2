//! `LatencyHistogram`: a lock-free histogram of durations, with the classic and the native buckets of Prometheus.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::TraceId;

use super::cells::{self, BUCKETS, CELLS, NATIVE_BUCKETS};
use crate::observe::stripes::Stripes;

/// The first observations of a cell are all kept as the exemplar of its classic bucket, later ones once in so many.
const EXEMPLAR_EVERY: u64 = 32;

/// Whether histograms count. They are in every layer, so one switch serves the process.
static COUNTING: AtomicBool = AtomicBool::new(true);

/// Whether durations are counted in histograms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Histograms {
    /// They are.
    On,
    /// They are not, and no histogram is exposed.
    Off,
}

/// Counts durations. An observation costs two relaxed additions and takes no lock.
#[derive(Default, Debug)]
pub struct LatencyHistogram(Stripes<CellCounts>);

/// The observations of a group of threads.
#[derive(Debug)]
struct CellCounts {
    cells: [AtomicU64; CELLS],
    /// The sum, in nanoseconds.
    sum: AtomicU64,
}

/// The last job of each classic bucket, as far as it is kept.
#[derive(Debug)]
pub struct LatencyExemplars(Mutex<[Option<LatencyExemplar>; BUCKETS]>);

/// A job whose duration lies in a classic bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyExemplar {
    /// The number of the job.
    pub job: u64,
    /// Its trace. `None` if no trace of it is sent.
    pub trace: Option<TraceId>,
    /// Its duration.
    pub time: Duration,
    /// When it was observed.
    pub at: SystemTime,
}

/// The counts of a histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencySnapshot {
    cells: [u64; CELLS],
    /// The sum of all observations.
    pub sum: Duration,
    /// The exemplars of the classic buckets.
    pub exemplars: [Option<LatencyExemplar>; BUCKETS],
}

impl Histograms {
    /// Puts this into effect for the process.
    pub fn apply(self) {
        COUNTING.store(self == Histograms::On, Ordering::Relaxed);
    }

    /// Returns what is in effect.
    #[inline]
    pub fn current() -> Histograms {
        if COUNTING.load(Ordering::Relaxed) { Histograms::On } else { Histograms::Off }
    }
}

impl LatencyHistogram {
    /// Makes an empty histogram.
    pub const fn new() -> LatencyHistogram {
        LatencyHistogram(Stripes::new())
    }

    /// Counts a duration. Inlined, as all of this is, because it is shorter than what a call saves and restores.
    #[inline]
    pub fn observe(&self, time: Duration) {
        self.count(time);
    }

    /// Counts the duration of a job, which may become the exemplar of its bucket. The job comes with its trace, if one is
    /// sent.
    pub fn observe_job(
        &self,
        exemplars: &LatencyExemplars,
        time: Duration,
        (job, trace): (u64, Option<TraceId>),
    ) {
        let Some((cell, before)) = self.count(time) else { return };
        if before < EXEMPLAR_EVERY || before.is_multiple_of(EXEMPLAR_EVERY) {
            exemplars.keep(cells::classic(cell), LatencyExemplar { job, trace, time, at: SystemTime::now() });
        }
    }

    /// Returns the counts so far.
    pub fn snapshot(&self) -> LatencySnapshot {
        let mut snapshot = LatencySnapshot::default();
        for CellCounts { cells, sum } in self.0.iter() {
            snapshot.sum += Duration::from_nanos(sum.load(Ordering::Relaxed));
            for (count, cell) in snapshot.cells.iter_mut().zip(cells) {
                *count += cell.load(Ordering::Relaxed);
            }
        }
        snapshot
    }

    /// Returns the cell, and how many observations of the same threads it had before. `None` if nothing is counted.
    #[inline]
    fn count(&self, time: Duration) -> Option<(usize, u64)> {
        if Histograms::current() == Histograms::Off {
            return None;
        }
        // First: a stripe is made by a call, and values that are computed before it would be saved for it.
        let counts = self.0.own();
        let nanos = nanos(time);
        let cell = cells::of(nanos);
        if nanos > 0 {
            counts.sum.fetch_add(nanos, Ordering::Relaxed);
        }
        Some((cell, counts.cells[cell].fetch_add(1, Ordering::Relaxed)))
    }
}

impl Default for CellCounts {
    fn default() -> CellCounts {
        CellCounts { cells: [const { AtomicU64::new(0) }; CELLS], sum: AtomicU64::new(0) }
    }
}

impl LatencyExemplars {
    /// Makes exemplars for an empty histogram.
    pub const fn new() -> LatencyExemplars {
        LatencyExemplars(Mutex::new([None; BUCKETS]))
    }

    /// Adds the exemplars to the counts of their histogram.
    pub fn add_to(&self, snapshot: &mut LatencySnapshot) {
        snapshot.exemplars = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
    }

    /// Keeps an exemplar. If another thread has the lock, this exemplar is left out.
    fn keep(&self, bucket: usize, exemplar: LatencyExemplar) {
        if let Ok(mut kept) = self.0.try_lock() {
            kept[bucket] = Some(exemplar);
        }
    }
}

impl Default for LatencyExemplars {
    fn default() -> LatencyExemplars {
        LatencyExemplars::new()
    }
}

impl LatencySnapshot {
    /// Returns the number of observations.
    pub fn count(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// Returns the observations of each classic bucket alone.
    pub fn buckets(&self) -> [u64; BUCKETS] {
        self.summed(cells::classic)
    }

    /// Returns the observations of each native bucket alone, the zero bucket first.
    pub fn native_buckets(&self) -> [u64; NATIVE_BUCKETS + 1] {
        self.summed(cells::native)
    }

    fn summed<const N: usize>(&self, bucket_of: fn(usize) -> usize) -> [u64; N] {
        let mut buckets = [0; N];
        for (cell, count) in self.cells.iter().enumerate().filter(|(_, count)| **count > 0) {
            buckets[bucket_of(cell)] += count;
        }
        buckets
    }

    /// Adds the counts of another histogram. Of two exemplars of a bucket, the later one stays.
    pub fn merge(&mut self, other: &LatencySnapshot) {
        self.sum += other.sum;
        for (own, more) in self.cells.iter_mut().zip(other.cells) {
            *own += more;
        }
        for (own, more) in self.exemplars.iter_mut().zip(other.exemplars) {
            if own.map(|own| own.at) < more.map(|more| more.at) {
                *own = more;
            }
        }
    }
}

impl Default for LatencySnapshot {
    fn default() -> LatencySnapshot {
        LatencySnapshot { cells: [0; CELLS], sum: Duration::ZERO, exemplars: [None; BUCKETS] }
    }
}

/// Returns a duration in nanoseconds, at most `u64::MAX`. [`Duration::as_nanos`] computes with 128 bits.
#[inline]
fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::super::cells::BOUNDS;
    use super::*;

    fn counted(times: &[Duration]) -> LatencySnapshot {
        let histogram = LatencyHistogram::new();
        times.iter().for_each(|time| histogram.observe(*time));
        histogram.snapshot()
    }

    #[test]
    fn a_duration_at_a_bound_belongs_to_the_bucket_of_that_bound_and_a_longer_one_to_the_next() {
        for (position, bound) in BOUNDS.into_iter().enumerate() {
            let at = Duration::from_micros(bound);

            let snapshot = counted(&[at, at + Duration::from_nanos(1)]);

            let buckets = snapshot.buckets();
            assert_eq!((buckets[position], buckets[position + 1]), (1, 1), "{bound} us");
            assert_eq!(snapshot.sum, at * 2 + Duration::from_nanos(1));
        }
    }

    #[test]
    fn the_shortest_and_the_longest_duration_have_buckets() {
        let snapshot = counted(&[Duration::ZERO, Duration::from_secs(1 << 40)]);

        let (classic, native) = (snapshot.buckets(), snapshot.native_buckets());
        assert_eq!((classic[0], classic[BUCKETS - 1], snapshot.count()), (1, 1, 2));
        assert_eq!((native[0], native[NATIVE_BUCKETS]), (1, 1));
    }

    #[test]
    fn a_duration_beyond_64_bits_of_nanoseconds_is_cut_to_them() {
        let longest = Duration::from_nanos(u64::MAX);

        for time in [Duration::ZERO, longest - Duration::from_nanos(1), longest] {
            assert_eq!(u128::from(nanos(time)), time.as_nanos());
        }
        assert_eq!((nanos(longest + Duration::from_nanos(1)), nanos(Duration::MAX)), (u64::MAX, u64::MAX));
    }

    #[test]
    fn classic_and_native_buckets_have_all_observations_after_a_merge_too() {
        let times: Vec<Duration> =
            (0..1_000_u32).map(|number| Duration::from_nanos(7) * number.pow(3)).collect();
        let (early, late) = times.split_at(300);
        let mut merged = counted(early);

        merged.merge(&counted(late));

        assert_eq!(merged, counted(&times));
        assert_eq!(merged.buckets().iter().sum::<u64>(), 1_000);
        assert_eq!(merged.native_buckets().iter().sum::<u64>(), 1_000);
        let below = |bound| times.iter().filter(|time| **time <= Duration::from_millis(bound)).count() as u64;
        assert_eq!(merged.buckets()[..12].iter().sum::<u64>(), below(250));
        // 0.25 s is 2^-2 s: the bound of bucket number (18 - 2) * 4 as well.
        assert_eq!(merged.native_buckets()[..=64].iter().sum::<u64>(), below(250));
    }

    #[test]
    fn a_histogram_takes_less_than_a_kibibyte_for_each_processor_and_nothing_before_it_counts() {
        assert!(size_of::<CellCounts>() < 1 << 10, "{}", size_of::<CellCounts>());
        assert!(size_of::<LatencyHistogram>() <= 64, "{}", size_of::<LatencyHistogram>());
    }

    #[test]
    fn a_snapshot_has_what_all_threads_have_counted() {
        let histogram = LatencyHistogram::new();
        let observe = || (0..100).for_each(|_| histogram.observe(Duration::from_millis(3)));

        std::thread::scope(|scope| (0..9).for_each(|_| _ = scope.spawn(observe)));

        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count(), snapshot.sum), (900, Duration::from_millis(2_700)));
        assert_eq!(snapshot.buckets()[6], 900);
    }

    #[test]
    fn the_exemplar_of_a_bucket_is_a_job_of_that_bucket() {
        let (histogram, exemplars) = (LatencyHistogram::new(), LatencyExemplars::new());
        histogram.observe_job(&exemplars, Duration::from_micros(60), (1, None));
        histogram.observe_job(&exemplars, Duration::from_micros(70), (2, None));
        histogram.observe_job(&exemplars, Duration::from_secs(2), (3, None));

        let mut snapshot = histogram.snapshot();
        exemplars.add_to(&mut snapshot);

        let jobs: Vec<_> = snapshot.exemplars.iter().map(|kept| kept.map(|kept| kept.job)).collect();
        assert_eq!((jobs[1], jobs[14], jobs.iter().flatten().count()), (Some(2), Some(3), 2));
    }

    #[test]
    fn of_two_exemplars_of_a_bucket_the_later_one_stays() {
        let (early, late) = (SystemTime::UNIX_EPOCH, SystemTime::now());
        let with = |job, at| {
            let mut snapshot = LatencySnapshot::default();
            snapshot.exemplars[0] = Some(LatencyExemplar { job, trace: None, time: Duration::ZERO, at });
            snapshot
        };
        let mut merged = with(1, late);

        merged.merge(&with(2, early));

        assert_eq!(merged.exemplars[0].map(|kept| kept.job), Some(1));
    }
}
