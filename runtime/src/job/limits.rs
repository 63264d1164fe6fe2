//! What one job may use, and how many jobs of one handler may run at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Peers;
use super::outbound::CallLimits;
use crate::budget::Holder;

/// The bounds of one job. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory and tables, summed over everything the job owns.
    pub memory: usize,
    /// Wall time from the first instruction to the last; none: as long as it likes.
    pub time: Option<Duration>,
    /// Time on a processor, waits not counted; none: unlimited.
    pub cpu: Option<Duration>,
    /// Bytes read from stdin that come from a client; `u64::MAX`: as many as come.
    pub body: u64,
    /// Bytes written to stdout; `u64::MAX`: as many as it likes.
    pub output: u64,
    /// Jobs of this handler at once.
    pub concurrency: usize,
    /// Of these, those of one address while others wait; none: half of them.
    pub concurrency_per_peer: Option<usize>,
    /// Jobs of this handler that wait for a slot; one more is refused.
    pub queue: usize,
    /// How long a job waits for a slot before it is refused.
    pub queue_time: Duration,
    /// Bytes of a job's stderr that are logged; the rest is counted.
    pub stderr: u64,
    /// Lines a second of a job's stderr that are logged, after ten times as many at once; the rest
    /// is counted.
    pub stderr_rate: u32,
    /// Files, directories, streams and pollables a job holds at once, its stdio and mounts among them.
    pub handles: usize,
    /// What a job asks of other servers.
    pub outbound: CallLimits,
}

impl Limits {
    /// Bounds that no job of our own reaches: for built-in jobs, which we trust.
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
    /// Says how many slots one address has a right to, at least one.
    pub fn share(&self) -> usize {
        self.concurrency_per_peer.unwrap_or(self.concurrency / 2).max(1)
    }

    /// Reports whether jobs make room whose clients keep them waiting: not where one address is given all slots.
    pub fn make_room(&self) -> bool {
        self.concurrency_per_peer.is_none_or(|share| share < self.concurrency)
    }

    /// Says how many slots one address may have though nobody else wants them: a thirty-second is left for others,
    /// which is less than one of fewer than 32. What holds its slot for good, as an upgraded client that is silent
    /// or a client that keeps its pace, cannot be made to give it back.
    pub fn most_of_one_address(&self) -> usize {
        if self.make_room() { self.concurrency - self.concurrency / 32 } else { self.concurrency }
    }

    /// Reports whether so many slots are more than one address has a right to while others wait. Of one slot,
    /// half is meant, so that the one who has it has too much.
    pub fn is_too_much(&self, running: usize) -> bool {
        running > self.concurrency_per_peer.unwrap_or(self.concurrency / 2)
    }
}

impl Default for Limits {
    /// What a handler gets that says nothing.
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
            // A client that waited longer has mostly left.
            queue_time: Duration::from_secs(10),
            stderr: 1 << 20,
            stderr_rate: 100,
            handles: 256,
            outbound: CallLimits::DEFAULT,
        }
    }
}

/// How many places are taken at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Jobs that run.
    pub running: usize,
    /// Jobs that wait for a slot.
    pub waiting: usize,
}

/// The places in which a handler's jobs run, and the bounded line in front of them.
#[derive(Clone, Debug)]
pub struct Slots {
    /// A permit a job.
    pub running: Arc<Semaphore>,
    /// A permit a job that waits for a slot.
    pub waiting: Arc<Semaphore>,
    /// The handler's part of the daemon's places.
    pub places: Arc<Holder>,
    /// Its part of the memory that all jobs share.
    pub memory: Arc<Holder>,
    /// Its part of the file descriptors.
    pub descriptors: Arc<Holder>,
    /// How many jobs and slots each address has.
    pub peers: Arc<Peers>,
    /// Held by the one job that stands in line for all of the addresses that have more than their share, once its own
    /// address may have a slot more.
    pub crowd: Arc<Semaphore>,
}

impl Slots {
    /// Makes `limits.concurrency` slots and `limits.queue` places to wait.
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
        }
    }

    /// Reports whether only an eighth of the slots is left, which were made for these limits. Fewer than eight
    /// slots have no eighth.
    pub fn are_scarce(&self, limits: &Limits) -> bool {
        let eighth = limits.concurrency / 8;
        eighth > 0 && self.taken(limits).running + eighth >= limits.concurrency
    }

    /// Counts the places that are taken, which were made for these limits.
    pub fn taken(&self, limits: &Limits) -> Taken {
        let taken = |places: usize, free: &Semaphore| {
            places.min(Semaphore::MAX_PERMITS).saturating_sub(free.available_permits())
        };
        Taken {
            running: taken(limits.concurrency, &self.running),
            waiting: taken(limits.queue, &self.waiting),
        }
    }
}
