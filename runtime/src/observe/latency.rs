//! `LatencyHistogram`: a lock-free histogram of durations, with the buckets that Prometheus gets.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::TraceId;

/// The upper bounds of the buckets, in microseconds. A last bucket has no bound.
///
/// The buckets of most client libraries begin at 5 ms. Nearly all requests here would fall into that first one.
pub const BOUNDS: [u64; 19] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// The number of buckets, with the one that has no bound.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// The first observations of a bucket are all kept as its exemplar, later ones once in so many.
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
#[derive(Debug)]
pub struct LatencyHistogram {
    buckets: [AtomicU64; BUCKETS],
    /// The sum, in nanoseconds.
    sum: AtomicU64,
}

/// The last job of each bucket, as far as it is kept.
#[derive(Debug)]
pub struct LatencyExemplars(Mutex<[Option<LatencyExemplar>; BUCKETS]>);

/// A job whose duration lies in a bucket.
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatencySnapshot {
    /// The observations of each bucket alone.
    pub buckets: [u64; BUCKETS],
    /// The sum of all observations.
    pub sum: Duration,
    /// The exemplars of the buckets.
    pub exemplars: [Option<LatencyExemplar>; BUCKETS],
}

impl Histograms {
    /// Puts this into effect for the process.
    pub fn apply(self) {
        COUNTING.store(self == Histograms::On, Ordering::Relaxed);
    }

    /// Returns what is in effect.
    pub fn current() -> Histograms {
        if COUNTING.load(Ordering::Relaxed) { Histograms::On } else { Histograms::Off }
    }
}

impl LatencyHistogram {
    /// Makes an empty histogram.
    pub const fn new() -> LatencyHistogram {
        LatencyHistogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }

    /// Counts a duration.
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
        let Some((bucket, before)) = self.count(time) else { return };
        if before < EXEMPLAR_EVERY || before.is_multiple_of(EXEMPLAR_EVERY) {
            exemplars.keep(bucket, LatencyExemplar { job, trace, time, at: SystemTime::now() });
        }
    }

    /// Returns the counts so far.
    pub fn snapshot(&self) -> LatencySnapshot {
        LatencySnapshot {
            buckets: self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.sum.load(Ordering::Relaxed)),
            exemplars: [None; BUCKETS],
        }
    }

    /// Returns the bucket, and how many observations it had before. `None` if nothing is counted.
    fn count(&self, time: Duration) -> Option<(usize, u64)> {
        if Histograms::current() == Histograms::Off {
            return None;
        }
        let micros = u64::try_from(time.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        if !time.is_zero() {
            self.sum.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        Some((bucket, self.buckets[bucket].fetch_add(1, Ordering::Relaxed)))
    }
}

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        LatencyHistogram::new()
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
        self.buckets.iter().sum()
    }

    /// Adds the counts of another histogram. Of two exemplars of a bucket, the later one stays.
    pub fn merge(&mut self, other: &LatencySnapshot) {
        self.sum += other.sum;
        for (own, more) in self.buckets.iter_mut().zip(other.buckets) {
            *own += more;
        }
        for (own, more) in self.exemplars.iter_mut().zip(other.exemplars) {
            if own.map(|own| own.at) < more.map(|more| more.at) {
                *own = more;
            }
        }
    }
}

#[cfg(test)]
mod tests {
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

            assert_eq!((snapshot.buckets[position], snapshot.buckets[position + 1]), (1, 1), "{bound} us");
            assert_eq!(snapshot.sum, at * 2 + Duration::from_nanos(1));
        }
    }

    #[test]
    fn the_shortest_and_the_longest_duration_have_buckets() {
        let snapshot = counted(&[Duration::ZERO, Duration::from_secs(1 << 40)]);

        assert_eq!((snapshot.buckets[0], snapshot.buckets[BUCKETS - 1], snapshot.count()), (1, 1, 2));
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
