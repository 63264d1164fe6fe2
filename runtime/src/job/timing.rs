//! `Timing`: how long a job waits for its slot, how long its instance takes to make, and how long its guest runs.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::observe::history::JobDurations;

/// Any point in the past; times of jobs are kept relative to it.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The times of one job, written where each of them passes. Readable by anyone at any time.
///
/// The engine writes the wait, the beginning and the end. The sandbox writes when the instance is ready.
#[derive(Debug, Default)]
pub struct Timing {
    /// The wait for a slot, in nanoseconds.
    queue: AtomicU64,
    /// When the job had its slot, in nanoseconds after `EPOCH`; 0 until then. The next two are written the same way.
    begun: AtomicU64,
    ready: AtomicU64,
    ended: AtomicU64,
}

impl Timing {
    /// Records how long the job has waited for a slot.
    pub fn queued(&self, time: Duration) {
        self.queue.store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Records that the job has its slot.
    pub fn begin(&self, now: Instant) {
        self.begun.store(written(now), Ordering::Relaxed);
    }

    /// Records that the instance is ready for the job.
    pub fn ready(&self) {
        self.ready.store(written(Instant::now()), Ordering::Relaxed);
    }

    /// Records that the job has ended.
    pub fn end(&self, now: Instant) {
        self.ended.store(written(now), Ordering::Relaxed);
    }

    /// Returns the wait for a slot.
    pub fn queue(&self) -> Duration {
        Duration::from_nanos(self.queue.load(Ordering::Relaxed))
    }

    /// Returns how long each part took. A part in progress lasts until `now`.
    pub fn durations(&self, now: Instant) -> JobDurations {
        let [begun, ready, ended] = [&self.begun, &self.ready, &self.ended].map(read);
        let until = ended.unwrap_or_else(|| nanos(now));
        JobDurations {
            queue: self.queue(),
            instantiate: begun.map(|begun| between(begun, ready.unwrap_or(until))),
            guest: ready.map(|ready| between(ready, until)),
        }
    }

    /// Returns how much time has passed since the end of the job. `None` if it has not ended.
    pub fn since_end(&self, now: Instant) -> Option<Duration> {
        Some(between(read(&self.ended)?, nanos(now)))
    }
}

/// Returns a time in nanoseconds after `EPOCH`.
fn nanos(time: Instant) -> u64 {
    u64::try_from(time.saturating_duration_since(*EPOCH).as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a time as it is kept. It is never 0, which stands for no time.
fn written(time: Instant) -> u64 {
    nanos(time).saturating_add(1)
}

/// Reads a kept time, in nanoseconds after `EPOCH`.
fn read(kept: &AtomicU64) -> Option<u64> {
    kept.load(Ordering::Relaxed).checked_sub(1)
}

fn between(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_parts_of_a_job_follow_one_another() {
        let (timing, start) = (Timing::default(), *EPOCH);
        timing.queued(SECOND);
        timing.begin(start + SECOND);
        let instantiating = timing.durations(start + 3 * SECOND);
        timing.ready.store(written(start + 3 * SECOND), Ordering::Relaxed);
        let running = timing.durations(start + 7 * SECOND);
        timing.end(start + 8 * SECOND);

        let whole = JobDurations { queue: SECOND, instantiate: Some(2 * SECOND), guest: Some(5 * SECOND) };
        assert_eq!(instantiating, JobDurations { guest: None, ..whole });
        assert_eq!(running, JobDurations { guest: Some(4 * SECOND), ..whole });
        assert_eq!(timing.durations(start + 60 * SECOND), whole);
        assert_eq!(timing.since_end(start + 10 * SECOND), Some(2 * SECOND));
    }

    #[test]
    fn a_job_without_a_slot_has_only_waited() {
        let timing = Timing::default();
        timing.queued(SECOND);

        let durations = timing.durations(Instant::now());

        assert_eq!(durations, JobDurations { queue: SECOND, instantiate: None, guest: None });
        assert_eq!(timing.since_end(Instant::now()), None);
    }
}
