//! The ended jobs of one handler, in two rings: failures, and all others.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::HistoryEntry;

/// The ended jobs of one handler, over all its versions.
pub(super) struct HandlerHistory {
    rings: Mutex<Rings>,
    /// Whether a job has ended. From then on, the handler has a part of the memory.
    has_part: AtomicBool,
    /// The number of handlers with a part.
    parts: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Rings {
    /// Jobs that failed by the fault of the handler or the daemon. Successes do not push them out.
    failed: EntryRing,
    ended: EntryRing,
}

/// Entries, oldest first, and their bytes. The size of each entry stands beside it: an old entry is no longer in the
/// processor's cache, so measuring it again would be slow.
#[derive(Default)]
struct EntryRing {
    entries: VecDeque<(usize, Arc<HistoryEntry>)>,
    bytes: usize,
}

/// How much the history holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HistoryFigures {
    /// The number of jobs.
    pub jobs: usize,
    /// Their bytes.
    pub bytes: usize,
    /// The limit of their bytes; 0 if nothing is kept.
    pub limit: usize,
}

impl HandlerHistory {
    /// Makes an empty history. `parts` counts the handlers with a part of the memory.
    pub(super) fn of(parts: &Arc<AtomicUsize>) -> HandlerHistory {
        HandlerHistory { rings: Mutex::default(), has_part: AtomicBool::new(false), parts: parts.clone() }
    }

    /// Gives the handler a part of the memory. Returns `false` if it has one.
    pub(super) fn take_part(&self) -> bool {
        let is_new = !self.has_part.load(Ordering::Relaxed) && !self.has_part.swap(true, Ordering::Relaxed);
        if is_new {
            self.parts.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }

    /// Adds an entry. Each ring keeps half of `share` bytes.
    pub(super) fn add(&self, entry: Arc<HistoryEntry>, share: usize) {
        let (has_failed, size) = (entry.has_failed(), entry.size());
        let mut rings = self.lock();
        let ring = if has_failed { &mut rings.failed } else { &mut rings.ended };
        ring.bytes += size;
        ring.entries.push_back((size, entry));
        // Usually one entry makes room for the new one. It is dropped after the lock is released.
        let _oldest = if ring.bytes > share / 2 { ring.pop() } else { None };
        ring.shrink_to(share / 2);
        drop(rings);
    }

    /// Drops the oldest entries until the rest fits into `share` bytes.
    pub(super) fn shrink_to(&self, share: usize) {
        let mut rings = self.lock();
        rings.failed.shrink_to(share / 2);
        rings.ended.shrink_to(share / 2);
    }

    /// Appends all entries.
    pub(super) fn collect(&self, all: &mut Vec<Arc<HistoryEntry>>) {
        let rings = self.lock();
        all.extend(rings.failed.entries.iter().chain(&rings.ended.entries).map(|(_, entry)| entry.clone()));
    }

    /// Adds what this handler holds to the figures.
    pub(super) fn count(&self, figures: &mut HistoryFigures) {
        let rings = self.lock();
        for ring in [&rings.failed, &rings.ended] {
            figures.jobs += ring.entries.len();
            figures.bytes += ring.bytes;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HandlerHistory {
    fn drop(&mut self) {
        if *self.has_part.get_mut() {
            self.parts.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl EntryRing {
    fn pop(&mut self) -> Option<Arc<HistoryEntry>> {
        let (size, oldest) = self.entries.pop_front()?;
        self.bytes -= size;
        Some(oldest)
    }

    fn shrink_to(&mut self, bytes: usize) {
        while self.bytes > bytes && self.pop().is_some() {}
        if self.entries.is_empty() {
            // The ring of a handler that is switched off takes nothing.
            self.entries = VecDeque::new();
        }
    }
}
