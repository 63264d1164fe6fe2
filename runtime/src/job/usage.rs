//! The resources that one job has used so far.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::{AnswerProgress, FailureGuard, JobEnds, Timing, Waits};
use crate::observe::traces::JobSpans;

/// The account of a job, charged by the engine and the sandbox and readable by anyone.
#[derive(Debug, Default)]
pub struct Usage {
    /// CPU time in nanoseconds.
    cpu: AtomicU64,
    /// Bytes of its memories and tables.
    memory: AtomicUsize,
    /// Whether it has started.
    begun: AtomicBool,
    /// Whether it has begun to listen to events.
    listens: AtomicBool,
    /// The highest count of its handles.
    handles: AtomicUsize,
    /// Bytes of its request body that have arrived.
    body: AtomicU64,
    /// How long its parts take.
    pub timing: Timing,
    /// How far its answer has come.
    pub answer: AnswerProgress,
    /// Its waits for its client.
    pub waits: Waits,
    /// Guards that its failure is counted once.
    pub failure: FailureGuard,
    /// What has ended of it, for the history.
    pub ends: JobEnds,
    /// Its span, if it is traced.
    pub spans: JobSpans,
}

impl Usage {
    /// Charges CPU time and returns the sum.
    pub fn spend(&self, time: Duration) -> Duration {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let before = self.cpu.fetch_add(time, Ordering::Relaxed);
        Duration::from_nanos(before.saturating_add(time))
    }

    /// Records how many bytes of memory the job has now.
    pub fn hold(&self, bytes: usize) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    /// Records that the job has its slot and starts.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Reports whether the job has started, as opposed to waiting in the queue.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Records that the job misses no event from now on. A listener ([`Policy::is_listener`](super::Policy)) calls it.
    pub fn listen(&self) {
        // What the job did to listen happens before.
        self.listens.store(true, Ordering::Release);
    }

    /// Reports whether the job has begun to listen to events.
    pub fn listens(&self) -> bool {
        self.listens.load(Ordering::Acquire)
    }

    /// Records how many handles the job has now.
    pub fn has_handles(&self, count: usize) {
        if count > self.handles.load(Ordering::Relaxed) {
            self.handles.fetch_max(count, Ordering::Relaxed);
        }
    }

    /// Counts bytes of the request body that have arrived.
    pub fn receive(&self, bytes: u64) {
        self.body.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the highest count of its handles.
    pub fn handles(&self) -> usize {
        self.handles.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes of the request body that have arrived.
    pub fn body(&self) -> u64 {
        self.body.load(Ordering::Relaxed)
    }

    /// Returns the CPU time.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu.load(Ordering::Relaxed))
    }

    /// Returns the bytes of memory; 0 for a native job, whose memory is the daemon's.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }
}
