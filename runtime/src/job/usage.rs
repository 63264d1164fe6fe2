//! What one job has used so far.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Waits;

/// An account that the engine and the sandbox charge and anybody may read.
#[derive(Debug, Default)]
pub struct Usage {
    /// Nanoseconds on a processor.
    cpu: AtomicU64,
    /// Bytes of memories and tables.
    memory: AtomicUsize,
    /// Whether it has its slot.
    begun: AtomicBool,
    /// The most handles it had when they were counted.
    handles: AtomicUsize,
    /// Bytes of its request that have come.
    body: AtomicU64,
    /// How long it waited for its client.
    pub waits: Waits,
}

/// Returns the time that this thread has spent on a processor. The wall clock would charge a job for the time in
/// which another thread has the processor, or in which the process is throttled.
pub fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

impl Usage {
    /// Charges time on a processor and returns the sum.
    pub fn spend(&self, time: Duration) -> Duration {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let before = self.cpu.fetch_add(time, Ordering::Relaxed);
        Duration::from_nanos(before.saturating_add(time))
    }

    /// Notes how many bytes of memory the job has now.
    pub fn hold(&self, bytes: usize) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    /// Notes that the job has its slot and begins.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Reports whether the job has begun, and is not in line any more.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Notes how many handles the job has now.
    pub fn has_handles(&self, count: usize) {
        if count > self.handles.load(Ordering::Relaxed) {
            self.handles.fetch_max(count, Ordering::Relaxed);
        }
    }

    /// Counts bytes of its request that have come.
    pub fn receive(&self, bytes: u64) {
        self.body.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the most handles that it had when they were counted.
    pub fn handles(&self) -> usize {
        self.handles.load(Ordering::Relaxed)
    }

    /// Returns the bytes of its request that have come.
    pub fn body(&self) -> u64 {
        self.body.load(Ordering::Relaxed)
    }

    /// Returns the time on a processor.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu.load(Ordering::Relaxed))
    }

    /// Returns the bytes of memory; 0 for a native job, whose memory is the daemon's.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }
}
