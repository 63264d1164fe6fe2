//! Listeners to the ends of jobs: each has a filter and a bounded queue, and writers never wait for them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;

use super::entry::HistoryEntry;

/// The most entries that wait for one listener. A further one drops the oldest.
const WAITING: usize = 512;

/// The most bytes of these entries. The history may have dropped them already.
const BYTES: usize = 1 << 20;

/// Selects entries.
type Wanted = Box<dyn Fn(&HistoryEntry) -> bool + Send + Sync>;

/// The listeners.
#[derive(Default)]
pub(super) struct Taps {
    /// The number of listeners. Without any, an end costs one load.
    listening: AtomicUsize,
    queues: RwLock<Vec<Arc<TapQueue>>>,
}

/// The entries that wait for one listener.
struct TapQueue {
    is_wanted: Wanted,
    waiting: Mutex<WaitingEntries>,
    grown: Notify,
}

#[derive(Default)]
struct WaitingEntries {
    entries: VecDeque<Arc<HistoryEntry>>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

/// A listener, which gets every entry that its filter selects. Dropping it ends it.
pub struct TapListener {
    taps: Arc<Taps>,
    queue: Arc<TapQueue>,
}

/// The next entries for a listener.
pub struct TapBatch {
    /// Entries that were dropped before these, because the listener was too slow.
    pub dropped: u64,
    /// The entries, oldest first.
    pub entries: Vec<Arc<HistoryEntry>>,
}

impl Taps {
    pub(super) fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed) > 0
    }

    /// Adds a listener.
    pub(super) fn listen(self: &Arc<Self>, is_wanted: Wanted) -> TapListener {
        let queue = Arc::new(TapQueue { is_wanted, waiting: Mutex::default(), grown: Notify::new() });
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.push(queue.clone());
        self.listening.store(queues.len(), Ordering::Relaxed);
        TapListener { taps: self.clone(), queue }
    }

    /// Gives a copy of an entry to the listeners that want it. Never waits for them.
    pub(super) fn send(&self, entry: &HistoryEntry) {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        let mut copy: Option<Arc<HistoryEntry>> = None;
        for queue in queues.iter().filter(|queue| (queue.is_wanted)(entry)) {
            queue.push(copy.get_or_insert_with(|| Arc::new(entry.clone())).clone());
        }
    }

    /// Ends every listener once it has read what waits for it.
    pub(super) fn close(&self) {
        for queue in &*self.queues.read().unwrap_or_else(PoisonError::into_inner) {
            queue.lock().closed = true;
            queue.grown.notify_one();
        }
    }
}

impl TapQueue {
    fn lock(&self) -> MutexGuard<'_, WaitingEntries> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, entry: Arc<HistoryEntry>) {
        let mut waiting = self.lock();
        waiting.bytes += entry.size();
        waiting.entries.push_back(entry);
        // The last one stays, whatever its size.
        while waiting.entries.len() > WAITING || (waiting.bytes > BYTES && waiting.entries.len() > 1) {
            let oldest = waiting.entries.pop_front();
            waiting.bytes -= oldest.map_or(0, |oldest| oldest.size());
            waiting.dropped += 1;
        }
        drop(waiting);
        self.grown.notify_one();
    }
}

impl TapListener {
    /// Waits for entries. Returns `None` once the daemon shuts down.
    ///
    /// # Cancel safety
    /// A dropped wait loses no entry.
    pub async fn next(&mut self) -> Option<TapBatch> {
        loop {
            {
                let mut waiting = self.queue.lock();
                if !waiting.entries.is_empty() {
                    let dropped = std::mem::take(&mut waiting.dropped);
                    waiting.bytes = 0;
                    return Some(TapBatch { dropped, entries: waiting.entries.drain(..).collect() });
                }
                if waiting.closed {
                    return None;
                }
            }
            // `notify_one` stores the notification of an entry that came in between.
            self.queue.grown.notified().await;
        }
    }
}

impl Drop for TapListener {
    fn drop(&mut self) {
        let mut queues = self.taps.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.taps.listening.store(queues.len(), Ordering::Relaxed);
    }
}
