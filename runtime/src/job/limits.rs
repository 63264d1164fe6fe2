//! The limits of one job, and the slots and queue of a handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::JobsPerClient;
use super::outbound::CallLimits;
use crate::budget::Holder;

/// The limits of one job. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory and tables, summed over all that the job owns.
    pub memory: usize,
    /// Wall time from the first instruction to the last. `None` means no limit.
    pub time: Option<Duration>,
    /// CPU time, without waits. `None` means no limit.
    pub cpu: Option<Duration>,
    /// Bytes of stdin from a client. `u64::MAX` means no limit.
    pub body: u64,
    /// Bytes written to stdout. `u64::MAX` means no limit.
    pub output: u64,
    /// Concurrent jobs of this handler.
    pub concurrency: usize,
    /// Concurrent jobs of one address while others wait. `None` means half of `concurrency`.
    pub concurrency_per_peer: Option<usize>,
    /// Jobs of this handler that may wait for a slot. One more is refused.
    pub queue: usize,
    /// How long a job waits for a slot before it is refused.
    pub queue_time: Duration,
    /// Bytes of a job's stderr that are logged. Further lines are only counted.
    pub stderr: u64,
    /// Lines a second of a job's stderr that are logged, after an initial burst of ten times as many. Further lines
    /// are only counted.
    pub stderr_rate: u32,
    /// Files, directories, streams and pollables that a job may hold at once, including its stdio and mounts.
    pub handles: usize,
    /// The limits of its outbound requests.
    pub outbound: CallLimits,
}

impl Limits {
    /// Limits that no built-in job reaches: we trust them.
    pub const NATIVE: Limits = Limits {
        memory: usize::MAX,
        time: None,
        cpu: None,
        body: u64::MAX,
        output: u64::MAX,
        concurrency: Semaphore::MAX_PERMITS,
        concurrency_per_peer: None,
        queue: 0,
        queue_time: Duration::from_secs(10),
        stderr: u64::MAX,
        stderr_rate: 100,
        handles: 1 << 20,
        outbound: CallLimits::DEFAULT,
    };
}

impl Limits {
    /// Returns the number of slots to which one address has a right: at least one.
    pub fn share(&self) -> usize {
        self.concurrency_per_peer.unwrap_or(self.concurrency / 2).max(1)
    }

    /// Reports whether jobs with slow clients are ended to make room. They are not if one address may have all slots.
    pub fn make_room(&self) -> bool {
        self.concurrency_per_peer.is_none_or(|share| share < self.concurrency)
    }

    /// Returns the most slots of one address while nothing else waits. A thirty-second is reserved for other
    /// addresses, which is nothing of fewer than 32 slots. An idle upgraded client or a client that keeps pace may
    /// hold its slot for good and cannot be made to release it.
    pub fn max_per_address(&self) -> usize {
        if self.make_room() { self.concurrency - self.concurrency / 32 } else { self.concurrency }
    }

    /// Reports whether this number of slots exceeds the right of one address while others wait. With one slot in all,
    /// half of it is the right, so its holder always exceeds it.
    pub fn is_too_much(&self, running: usize) -> bool {
        running > self.concurrency_per_peer.unwrap_or(self.concurrency / 2)
    }
}

impl Default for Limits {
    /// The limits of a handler that sets none.
    fn default() -> Limits {
        Limits {
            memory: 128 << 20,
            time: Some(Duration::from_secs(30)),
            cpu: Some(Duration::from_secs(1)),
            body: 16 << 20,
            output: 1 << 30,
            concurrency: 64,
            concurrency_per_peer: None,
            queue: 128,
            // Most clients give up before they have waited for longer.
            queue_time: Duration::from_secs(10),
            stderr: 1 << 20,
            stderr_rate: 100,
            handles: 256,
            outbound: CallLimits::DEFAULT,
        }
    }
}

/// The numbers of running and waiting jobs at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotUse {
    /// Jobs that run.
    pub running: usize,
    /// Jobs that wait for a slot.
    pub waiting: usize,
}

/// The most jobs that have run at once, and that have waited at once.
#[derive(Debug, Default)]
struct MostTaken {
    running: AtomicUsize,
    waiting: AtomicUsize,
}

/// The slots for a handler's jobs, and the bounded queue in front of them.
#[derive(Clone, Debug)]
pub struct Slots {
    /// One permit for each running job.
    pub running: Arc<Semaphore>,
    /// One permit for each job that waits for a slot.
    pub waiting: Arc<Semaphore>,
    /// The handler's holdings of the daemon's places.
    pub places: Arc<Holder>,
    /// Its holdings of the memory that all jobs share.
    pub memory: Arc<Holder>,
    /// Its holdings of the file descriptors.
    pub descriptors: Arc<Holder>,
    /// The number of jobs and slots of each address.
    pub peers: Arc<JobsPerClient>,
    /// Held by the one job that queues for all addresses beyond their share. The job takes it once its own address
    /// may have one more slot.
    pub crowd: Arc<Semaphore>,
    /// The most jobs so far.
    most: Arc<MostTaken>,
}

impl Slots {
    /// Makes `limits.concurrency` slots and a queue of `limits.queue` places.
    pub fn new(limits: &Limits) -> Slots {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Slots {
            running: semaphore(limits.concurrency),
            waiting: semaphore(limits.queue),
            places: Arc::default(),
            memory: Arc::default(),
            descriptors: Arc::default(),
            peers: Arc::default(),
            crowd: semaphore(1),
            most: Arc::default(),
        }
    }

    /// Records the number of running and waiting jobs. `limits` must be those of [`Slots::new`]. Takes no lock, and
    /// writes only if there were never more.
    pub fn note(&self, limits: &Limits) {
        let SlotUse { running, waiting } = self.taken(limits);
        for (most, now) in [(&self.most.running, running), (&self.most.waiting, waiting)] {
            if now > most.load(Ordering::Relaxed) {
                most.fetch_max(now, Ordering::Relaxed);
            }
        }
    }

    /// Returns the most jobs that [`Slots::note`] has recorded.
    pub fn most(&self) -> SlotUse {
        let MostTaken { running, waiting } = &*self.most;
        SlotUse { running: running.load(Ordering::Relaxed), waiting: waiting.load(Ordering::Relaxed) }
    }

    /// Reports whether only an eighth of the slots is free. `limits` must be those of [`Slots::new`]. Fewer than
    /// eight slots are never scarce.
    pub fn are_scarce(&self, limits: &Limits) -> bool {
        let eighth = limits.concurrency / 8;
        eighth > 0 && self.taken(limits).running + eighth >= limits.concurrency
    }

    /// Counts the running and waiting jobs. `limits` must be those of [`Slots::new`].
    pub fn taken(&self, limits: &Limits) -> SlotUse {
        let taken = |places: usize, free: &Semaphore| {
            places.min(Semaphore::MAX_PERMITS).saturating_sub(free.available_permits())
        };
        SlotUse {
            running: taken(limits.concurrency, &self.running),
            waiting: taken(limits.queue, &self.waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_jobs_stay_when_fewer_run() {
        let limits = Limits { concurrency: 3, queue: 2, ..Limits::default() };
        let slots = Slots::new(&limits);
        let ran = [slots.running.try_acquire(), slots.running.try_acquire(), slots.waiting.try_acquire()];
        slots.note(&limits);

        drop(ran);
        slots.note(&limits);

        assert_eq!(slots.most(), SlotUse { running: 2, waiting: 1 });
        assert_eq!(slots.taken(&limits), SlotUse { running: 0, waiting: 0 });
    }
}
