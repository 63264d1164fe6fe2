//! `HandlerStats`: the counters of a handler version, such as the outcomes of requests and scheduled runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{FailureGuard, HandlerLatencies, LogRate, OTHER_LATENCIES, Peaks, RouteTable};
use crate::observe::stripes::Stripes;

/// The counters of one version of a handler.
#[derive(Debug, Default)]
pub struct HandlerStats {
    /// Requests, including calls from other handlers.
    pub requests: Outcomes,
    /// Scheduled runs.
    pub runs: Outcomes,
    /// Failed jobs, by the code of their fault. Locked by failures only.
    reasons: Mutex<BTreeMap<&'static str, u64>>,
    /// Requests that the handler itself has answered with a status of 5xx.
    answered_errors: AtomicU64,
    /// Lines of stderr and of trap stacks that were not logged.
    unlogged: AtomicU64,
    /// The rate limit for the final messages of all jobs together. `None` until there is one. Locked
    /// by failures only.
    stderr_tail: Mutex<Option<LogRate>>,
    /// Scheduled runs that were missed.
    missed: AtomicU64,
    sums: Stripes<JobSums>,
    pace: Pace,
    /// How near its jobs have come to their limits.
    pub peaks: Peaks,
    /// Its requests by route.
    pub routes: RouteTable,
    /// `None` inside if there are too many versions.
    latencies: OnceLock<Option<Box<HandlerLatencies>>>,
}

/// What the jobs of a group of threads have used and moved.
#[derive(Debug, Default)]
struct JobSums {
    /// CPU time of all jobs that have ended, in microseconds.
    cpu: AtomicU64,
    /// The bytes of request bodies that have arrived.
    received: AtomicU64,
    /// The bytes of response bodies that were handed over.
    sent: AtomicU64,
}

/// The recent CPU time of one job, in microseconds. Each job changes it, so its cache line holds nothing that jobs only
/// read.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Pace(AtomicU64);

/// Counts finished requests or runs.
#[derive(Debug, Default)]
pub struct Outcomes(Stripes<OutcomeCounts>);

/// The requests or runs that a group of threads has finished.
#[derive(Debug, Default)]
struct OutcomeCounts {
    ended: AtomicU64,
    failed: AtomicU64,
    /// Total duration in microseconds.
    time: AtomicU64,
}

impl HandlerStats {
    /// Counts a failed job by its code, a [`Fault::code`](super::Fault::code). Returns `false` if it was counted before.
    pub fn count_failure(&self, job: &FailureGuard, code: &'static str) -> bool {
        let is_first = job.take();
        if is_first {
            *self.reasons.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
        }
        is_first
    }

    /// Counts a request that the handler itself has answered with a status of 5xx.
    pub fn answered_error(&self) {
        self.answered_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of requests that the handler itself has answered with a status of 5xx.
    pub fn answered_errors(&self) -> u64 {
        self.answered_errors.load(Ordering::Relaxed)
    }

    /// Counts lines that were not logged.
    pub fn leave_out(&self, lines: u64) {
        self.unlogged.fetch_add(lines, Ordering::Relaxed);
    }

    /// Deducts the final messages of a job from the rate limit. Returns `false` if they exceed it.
    pub(super) fn takes(&self, lines: impl IntoIterator<Item = usize>, rate: u32) -> bool {
        let (mut stderr_tail, now) =
            (self.stderr_tail.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        stderr_tail.get_or_insert_with(|| LogRate::new(rate, now)).admits(lines, now)
    }

    /// Records the CPU time of a job.
    ///
    /// A longer time than the recent one is taken over at once, and decays over dozens of shorter
    /// jobs. A handler that computes now and then is expected to compute.
    pub fn spent(&self, time: Duration) {
        let (time, pace) = (micros(time), self.pace.0.load(Ordering::Relaxed));
        self.sums.own().cpu.fetch_add(time, Ordering::Relaxed);
        let next = if time >= pace { time } else { pace - (pace - time).div_ceil(8) };
        if next != pace {
            // If two jobs end at once, one of them may be lost.
            self.pace.0.store(next, Ordering::Relaxed);
        }
    }

    /// Returns the CPU time of all jobs that have ended.
    pub fn cpu(&self) -> Duration {
        Duration::from_micros(sum(&self.sums, |sums| &sums.cpu))
    }

    /// Returns the expected CPU time of a job, from the recent ones.
    pub fn pace(&self) -> Duration {
        Duration::from_micros(self.pace.0.load(Ordering::Relaxed))
    }

    /// Returns the distributions of the durations of its jobs, which may be those of [`OTHER_LATENCIES`].
    pub fn latencies(&self) -> &HandlerLatencies {
        self.latencies.get_or_init(HandlerLatencies::within_limit).as_deref().unwrap_or(&OTHER_LATENCIES)
    }

    /// Returns the distributions that are its own. `None` if it has run no job, or shares them.
    pub fn own_latencies(&self) -> Option<&HandlerLatencies> {
        self.latencies.get()?.as_deref()
    }

    /// Counts the bytes of the bodies of a request and of its response.
    pub fn transferred(&self, received: u64, sent: u64) {
        let sums = self.sums.own();
        for (counter, bytes) in [(&sums.received, received), (&sums.sent, sent)] {
            if bytes > 0 {
                counter.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    /// Returns the bytes of request bodies that have arrived.
    pub fn received(&self) -> u64 {
        sum(&self.sums, |sums| &sums.received)
    }

    /// Returns the bytes of response bodies that were handed over.
    pub fn sent(&self) -> u64 {
        sum(&self.sums, |sums| &sums.sent)
    }

    /// Counts scheduled runs that were missed.
    pub fn miss(&self, runs: u64) {
        self.missed.fetch_add(runs, Ordering::Relaxed);
    }

    /// Returns the number of scheduled runs that were missed.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Returns the number of failed jobs for each code, sorted by code.
    pub fn reasons(&self) -> BTreeMap<&'static str, u64> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of lines of stderr and of stacks that were not logged.
    pub fn unlogged(&self) -> u64 {
        self.unlogged.load(Ordering::Relaxed)
    }
}

impl Outcomes {
    /// Counts a success, and the time from its first byte to its last.
    pub fn succeed(&self, time: Duration) {
        let counts = self.0.own();
        counts.time.fetch_add(micros(time), Ordering::Relaxed);
        counts.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failure, or a request that broke off.
    pub fn fail(&self, time: Duration) {
        self.0.own().failed.fetch_add(1, Ordering::Relaxed);
        self.succeed(time);
    }

    /// Returns the number of all that have ended.
    pub fn ended(&self) -> u64 {
        sum(&self.0, |counts| &counts.ended)
    }

    /// Returns the number of failures among them.
    pub fn failed(&self) -> u64 {
        sum(&self.0, |counts| &counts.failed)
    }

    /// Returns their total duration.
    pub fn time(&self) -> Duration {
        Duration::from_micros(sum(&self.0, |counts| &counts.time))
    }
}

/// Adds up a counter over all threads.
fn sum<T>(stripes: &Stripes<T>, of: fn(&T) -> &AtomicU64) -> u64 {
    stripes.iter().map(|counts| of(counts).load(Ordering::Relaxed)).sum()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_failure_is_an_end_too() {
        let ends = Outcomes::default();
        ends.succeed(Duration::from_millis(2));
        thread::scope(|scope| _ = scope.spawn(|| ends.fail(Duration::from_millis(3))));
        assert_eq!((ends.ended(), ends.failed()), (2, 1));
        assert_eq!(ends.time(), Duration::from_millis(5));
    }

    #[test]
    fn one_job_that_computes_is_noticed_at_once_and_forgotten_slowly() {
        let record = HandlerStats::default();
        record.spent(Duration::from_millis(10));
        assert_eq!((record.pace(), record.cpu()), (Duration::from_millis(10), Duration::from_millis(10)));

        let after = (1..).find(|_| {
            record.spent(Duration::from_micros(20));
            record.pace() < Duration::from_millis(1)
        });

        assert!(after.is_some_and(|jobs| (10..50).contains(&jobs)), "{after:?}");
    }

    #[test]
    fn each_failed_job_is_counted_once_by_its_first_reason() {
        let record = HandlerStats::default();
        for code in ["trapped", "cpu_limit", "trapped"] {
            let job = FailureGuard::default();
            record.count_failure(&job, code);
            // What the daemon makes of it later.
            record.count_failure(&job, "bad_answer");
        }
        assert_eq!(record.reasons(), BTreeMap::from([("cpu_limit", 1), ("trapped", 2)]));
    }
}
