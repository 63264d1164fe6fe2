//! What a cache is asked for and what it holds, for metrics and `status`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a cache, from the start of the process on.
#[derive(Default, Debug)]
pub struct Figures {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) evictions: AtomicU64,
    /// As of the last time that something could be evicted.
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// How many bytes the cache may hold; code in use counts and is never evicted.
    pub(super) most: AtomicU64,
}

impl Figures {
    /// Returns how often code was found.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Returns how often a module had to be compiled.
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// Returns how many entries this process has evicted.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Returns how many entries there are.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Returns the bytes of all entries.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the most bytes that are kept; code in use counts and is never evicted.
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

/// `12 modules, 34 MiB of 1024; 10 found, 2 compiled`
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bytes, most] = [self.bytes(), self.most()].map(|bytes| bytes >> 20);
        let (entries, hits, misses) = (self.entries(), self.hits(), self.misses());
        write!(f, "{entries} modules, {bytes} MiB of {most}; {hits} found, {misses} compiled")
    }
}
