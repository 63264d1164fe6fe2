//! The ended jobs of one handler, in two rings: failures, and all others.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chunk::{self, ChunkEntry, EntryChunk};
use super::entry::{HistoryEntry, VersionLabel};
use crate::observe::stripes::{STRIPES, Stripes};

/// The ended jobs of one handler, over all its versions.
pub(super) struct HandlerHistory {
    /// Jobs that failed by the fault of the handler or the daemon. Successes do not push them out.
    failed: EntryRing,
    ended: EntryRing,
    /// Whether a job has ended. From then on, the handler has a part of the memory.
    has_part: AtomicBool,
    /// The number of handlers with a part.
    parts: Arc<AtomicUsize>,
}

/// Entries in chunks. A thread fills the chunk of its stripe, and then gives it to the others. Until then it shares no lock
/// and no memory with other processors.
#[derive(Default)]
struct EntryRing {
    open: Stripes<Mutex<Arc<EntryChunk>>>,
    /// Locked behind the open chunks.
    full: Mutex<FullChunks>,
}

/// Full chunks, oldest first, with the number of their entries and their bytes. Both are kept, because a walk over many
/// old chunks is slow.
#[derive(Default)]
struct FullChunks {
    chunks: VecDeque<Arc<EntryChunk>>,
    jobs: usize,
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
        HandlerHistory {
            failed: EntryRing::default(),
            ended: EntryRing::default(),
            has_part: AtomicBool::new(false),
            parts: parts.clone(),
        }
    }

    /// Gives the handler a part of the memory. Returns `false` if it has one.
    pub(super) fn take_part(&self) -> bool {
        let is_new = !self.has_part.load(Ordering::Relaxed) && !self.has_part.swap(true, Ordering::Relaxed);
        if is_new {
            self.parts.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }

    /// Adds an entry of this version, and takes its parts out of it. Each ring keeps half of `share` bytes.
    pub(super) fn add(&self, entry: &mut HistoryEntry, version: &Arc<VersionLabel>, share: &AtomicUsize) {
        let ring = if entry.has_failed() { &self.failed } else { &self.ended };
        ring.add(entry, version, share);
    }

    /// Drops the oldest entries until the rest fits into `share` bytes.
    pub(super) fn shrink_to(&self, share: usize) {
        self.failed.shrink_to(share / 2);
        self.ended.shrink_to(share / 2);
    }

    /// Appends all entries.
    pub(super) fn collect(&self, all: &mut Vec<ChunkEntry>) {
        for ring in [&self.failed, &self.ended] {
            all.extend(ring.chunks().iter().flat_map(EntryChunk::entries));
        }
    }

    /// Adds what this handler holds to the figures.
    pub(super) fn count(&self, figures: &mut HistoryFigures) {
        for ring in [&self.failed, &self.ended] {
            let (open, full) = ring.lock();
            figures.jobs += full.jobs + open.iter().map(|chunk| chunk.len()).sum::<usize>();
            figures.bytes += full.bytes + open.iter().map(|chunk| chunk.bytes()).sum::<usize>();
        }
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
    /// Adds an entry. The ring keeps half of `share` bytes.
    fn add(&self, entry: &mut HistoryEntry, version: &Arc<VersionLabel>, share: &AtomicUsize) {
        let mut open = lock(self.open.own());
        // Read under the lock: a smaller share is stored before `shrink_to` takes this chunk.
        let limit = share.load(Ordering::Relaxed) / 2;
        // Copied if a listing has it.
        let chunk = Arc::make_mut(&mut open);
        chunk.add(entry, version, room(limit));
        if chunk.is_full(room(limit)) {
            // The open chunk stays locked, so that others find each entry in one place.
            let mut oldest = lock(&self.full).push(mem::take(&mut *open), limit);
            if let Some(mut old) = oldest.pop()
                && let Some(chunk) = Arc::get_mut(&mut old)
            {
                chunk.clear(room(limit));
                *open = old;
            }
        }
    }

    /// Drops the oldest entries until the rest fits into `limit` bytes.
    fn shrink_to(&self, limit: usize) {
        let (mut open, mut full) = self.lock();
        let opened = open.iter_mut().map(|chunk| mem::take(&mut **chunk)).filter(|chunk| chunk.len() > 0);
        opened.for_each(|chunk| full.add(chunk));
        if full.bytes <= of_full(limit) {
            return;
        }
        // Packed anew, because chunks for the former limit may be too large.
        let mut entries: Vec<_> = full.chunks.iter().flat_map(EntryChunk::entries).collect();
        entries.sort_by_key(ChunkEntry::ended);
        *full = FullChunks::default();
        let mut chunk = EntryChunk::default();
        for kept in entries {
            chunk.add(&mut kept.unpacked(), kept.version(), room(limit));
            if chunk.is_full(room(limit)) {
                full.push(Arc::new(mem::take(&mut chunk)), limit);
            }
        }
        if chunk.len() > 0 {
            full.push(Arc::new(chunk), limit);
        }
    }

    /// Returns every chunk. Jobs end meanwhile: the locks are held for the copies of the references alone.
    fn chunks(&self) -> Vec<Arc<EntryChunk>> {
        let (open, full) = self.lock();
        let mut chunks: Vec<_> = open.iter().map(|chunk| Arc::clone(chunk)).collect();
        drop(open);
        chunks.extend(full.chunks.iter().cloned());
        chunks
    }

    /// Locks all open chunks and the full ones, so that each entry is in one place.
    fn lock(&self) -> (Vec<MutexGuard<'_, Arc<EntryChunk>>>, MutexGuard<'_, FullChunks>) {
        let open = self.open.iter().map(lock).collect();
        (open, lock(&self.full))
    }
}

impl FullChunks {
    /// Adds a chunk.
    fn add(&mut self, chunk: Arc<EntryChunk>) {
        self.jobs += chunk.len();
        self.bytes += chunk.bytes();
        self.chunks.push_back(chunk);
    }

    /// Adds a chunk. Returns the chunks that have to go for it.
    fn push(&mut self, chunk: Arc<EntryChunk>, limit: usize) -> Vec<Arc<EntryChunk>> {
        self.add(chunk);
        let mut oldest = Vec::new();
        while self.bytes > of_full(limit)
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.jobs -= chunk.len();
            self.bytes -= chunk.bytes();
            oldest.push(chunk);
        }
        oldest
    }
}

/// Returns the bytes of full chunks in a ring of `limit` bytes. The rest is for the open chunks.
fn of_full(limit: usize) -> usize {
    limit - 2 * STRIPES * room(limit)
}

/// Returns the bytes for the list of entries of an open chunk, which is full with twice as many. The open chunks take a
/// quarter of the ring at most. 0 in a small ring: a chunk is full with its first entry, so no open chunk has any.
fn room(limit: usize) -> usize {
    let room = limit / (8 * STRIPES);
    if room < chunk::ENTRY { 0 } else { room.min(chunk::LARGEST) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use http::Method;

    use super::*;
    use crate::observe::history::{FailureSummary, RequestSummary};

    /// A failure with a stack of this length.
    fn failed(stack: usize) -> HistoryEntry {
        let (message, stack) = (String::new(), "x".repeat(stack));
        let failure = Some(Box::new(FailureSummary { code: "trapped", message, stack, is_own: true }));
        let begun = RequestSummary::begun(Instant::now(), &Method::GET, "/", None);
        let (ended, request) = (SystemTime::now(), Some(RequestSummary { failure, ..begun }));
        HistoryEntry { id: Some(1), parent: None, trace: None, version: None, ended, job: None, request }
    }

    #[test]
    fn a_small_ring_keeps_an_entry_of_nearly_its_size() {
        let (handler, version, kind) = ("one".to_owned(), "1".to_owned(), "wasip1".to_owned());
        let version = Arc::new(VersionLabel { handler, version, kind });
        let history = HandlerHistory::of(&Arc::default());

        // The part of each of 256 handlers in 4 MiB. Half of it is for failures.
        history.add(&mut failed(6 << 10), &version, &AtomicUsize::new(16 << 10));

        let mut figures = HistoryFigures::default();
        history.count(&mut figures);
        assert!(figures.jobs == 1 && figures.bytes <= 8 << 10, "{figures:?}");
    }
}
