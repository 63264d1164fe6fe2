//! The counters of a cache, for metrics and `status`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of a cache since the start of the process.
#[derive(Default, Debug)]
pub struct Figures {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) evictions: AtomicU64,
    /// The state after the last eviction.
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// The size limit of the cache in bytes. Code in use counts towards it but is never evicted.
    pub(super) max: AtomicU64,
}

impl Figures {
    /// Returns how often an entry was found.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Returns how often a module had to be compiled.
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// Returns the number of entries that this process has evicted.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Returns the number of entries.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Returns the size of all entries in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the size limit in bytes. Code in use counts towards it but is never evicted.
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }
}

/// `12 modules, 34 MiB of 1024; 10 found, 2 compiled`
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bytes, max] = [self.bytes(), self.max()].map(|bytes| bytes >> 20);
        let (entries, hits, misses) = (self.entries(), self.hits(), self.misses());
        write!(f, "{entries} modules, {bytes} MiB of {max}; {hits} found, {misses} compiled")
    }
}
