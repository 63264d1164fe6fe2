//! How a handler's requests and scheduled runs have ended so far.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Pace, Peaks};

/// Counts the requests and the jobs of one version of a handler.
#[derive(Debug, Default)]
pub struct Record {
    /// Requests, and calls of other handlers.
    pub requests: Ends,
    /// Runs that its schedule began.
    pub runs: Ends,
    /// Jobs that failed, by the code of what they failed at. Locked by failures only.
    reasons: Mutex<BTreeMap<&'static str, u64>>,
    /// Lines on stderr, and of the stacks of traps, that were not logged.
    unlogged: AtomicU64,
    /// How fast the log takes what all jobs together say of their ends; none: they have said nothing.
    /// Locked by failures only.
    last_words: Mutex<Option<Pace>>,
    /// Scheduled runs whose time passed without one.
    missed: AtomicU64,
    /// Microseconds on a processor over all jobs that have ended.
    cpu: AtomicU64,
    /// Microseconds on a processor that a job takes of late.
    pace: AtomicU64,
    /// How near its jobs have come to their limits.
    pub peaks: Peaks,
}

/// Counts what has ended.
#[derive(Debug, Default)]
pub struct Ends {
    ended: AtomicU64,
    failed: AtomicU64,
    /// Microseconds over all that have ended.
    time: AtomicU64,
}

impl Record {
    /// Counts a job that failed at this, a [`Fault::code`](super::Fault::code).
    pub fn blame(&self, code: &'static str) {
        *self.reasons.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// Counts lines that are not logged.
    pub fn leave_out(&self, lines: u64) {
        self.unlogged.fetch_add(lines, Ordering::Relaxed);
    }

    /// Takes lines that a job says of its end off what may be logged in a second; false: they are too
    /// much for now.
    pub(super) fn takes(&self, lines: impl IntoIterator<Item = usize>, rate: u32) -> bool {
        let (mut last_words, now) =
            (self.last_words.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        last_words.get_or_insert_with(|| Pace::new(rate, now)).admits(lines, now)
    }

    /// Notes how long a job was on a processor.
    ///
    /// One that took longer than the others of late counts at once, and is forgotten over dozens of
    /// those that did not: what computes now and then is expected to compute.
    pub fn spent(&self, time: Duration) {
        let (time, pace) = (micros(time), self.pace.load(Ordering::Relaxed));
        self.cpu.fetch_add(time, Ordering::Relaxed);
        let next = if time >= pace { time } else { pace - (pace - time).div_ceil(8) };
        if next != pace {
            // Of two jobs that end at once one may go unnoticed.
            self.pace.store(next, Ordering::Relaxed);
        }
    }

    /// Returns how long all jobs that have ended were on a processor.
    pub fn cpu(&self) -> Duration {
        Duration::from_micros(self.cpu.load(Ordering::Relaxed))
    }

    /// Returns how long a job is on a processor, going by those of late.
    pub fn pace(&self) -> Duration {
        Duration::from_micros(self.pace.load(Ordering::Relaxed))
    }

    /// Counts scheduled runs that did not come about.
    pub fn miss(&self, runs: u64) {
        self.missed.fetch_add(runs, Ordering::Relaxed);
    }

    /// Returns how many scheduled runs did not come about.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Returns how many jobs have failed at what, sorted by code.
    pub fn reasons(&self) -> BTreeMap<&'static str, u64> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how many lines on stderr and of stacks were not logged.
    pub fn unlogged(&self) -> u64 {
        self.unlogged.load(Ordering::Relaxed)
    }
}

impl Ends {
    /// Counts one that ended well, and the time from its first byte to its last.
    pub fn succeed(&self, time: Duration) {
        self.time.fetch_add(micros(time), Ordering::Relaxed);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that failed, or broke off.
    pub fn fail(&self, time: Duration) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.succeed(time);
    }

    /// Returns how many have ended.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Returns how many of them have failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Returns how long all of them took together.
    pub fn time(&self) -> Duration {
        Duration::from_micros(self.time.load(Ordering::Relaxed))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_an_end_too() {
        let ends = Ends::default();
        ends.succeed(Duration::from_millis(2));
        ends.fail(Duration::from_millis(3));
        assert_eq!((ends.ended(), ends.failed()), (2, 1));
        assert_eq!(ends.time(), Duration::from_millis(5));
    }

    #[test]
    fn one_job_that_computes_is_noticed_at_once_and_forgotten_slowly() {
        let record = Record::default();
        record.spent(Duration::from_millis(10));
        assert_eq!((record.pace(), record.cpu()), (Duration::from_millis(10), Duration::from_millis(10)));

        let after = (1..).find(|_| {
            record.spent(Duration::from_micros(20));
            record.pace() < Duration::from_millis(1)
        });

        assert!(after.is_some_and(|jobs| (10..50).contains(&jobs)), "{after:?}");
    }

    #[test]
    fn failures_are_counted_by_their_reason() {
        let record = Record::default();
        for code in ["trapped", "cpu_limit", "trapped"] {
            record.blame(code);
        }
        assert_eq!(record.reasons(), BTreeMap::from([("cpu_limit", 1), ("trapped", 2)]));
    }
}
