//! The queues of open stores, and the threads of closed ones: each puts on disk what is left to write, and ends.
//!
//! A store is dropped by async workers, which must not wait for a disk. At the end of the process a store may not be
//! dropped at all: a task that was not joined still has it. So the queues are known here too, and are closed from here.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use super::turns::Pending;

/// The queues that may be open.
static OPEN: Mutex<Vec<Weak<CommitQueue>>> = Mutex::new(Vec::new());

/// The threads that may still have their file open.
static CLOSING: Mutex<Vec<(PathBuf, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// The way to the thread that commits. Dropping it closes it.
pub(super) struct CommitQueue {
    path: Arc<Path>,
    /// `None` once the queue is closed.
    ends: Mutex<Option<(Sender<Pending>, JoinHandle<()>)>>,
}

impl CommitQueue {
    pub(super) fn new(path: Arc<Path>, queue: Sender<Pending>, thread: JoinHandle<()>) -> Arc<CommitQueue> {
        let queue = Arc::new(CommitQueue { path, ends: Mutex::new(Some((queue, thread))) });
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|queue| queue.strong_count() > 0);
        open.push(Arc::downgrade(&queue));
        queue
    }

    /// Queues a write. Returns `false` if the queue is closed or its thread has ended.
    pub(super) fn send(&self, pending: Pending) -> bool {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.as_ref().is_some_and(|(queue, _)| queue.send(pending).is_ok())
    }

    /// Closes the queue. The thread writes what is queued, and ends.
    pub(super) fn close(&self) {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((queue, thread)) = ends {
            drop(queue);
            let mut closing = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
            closing.retain(|(_, thread)| !thread.is_finished());
            closing.push((self.path.to_path_buf(), thread));
        }
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits until this process has closed a file, so that it can be opened again. Blocks.
pub(super) fn wait_for(path: &Path) {
    join(|closing| closing == path);
}

/// Closes all stores, even those that are still in use, and waits until they are on disk. Blocks. Called before the
/// process ends.
pub fn wait_for_all() {
    close(|_| true);
}

fn close(is_wanted: impl Fn(&Path) -> bool) {
    let open: Vec<_> = {
        let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().filter_map(Weak::upgrade).collect()
    };
    open.iter().filter(|queue| is_wanted(&queue.path)).for_each(|queue| queue.close());
    join(is_wanted);
}

fn join(is_wanted: impl Fn(&Path) -> bool) {
    let mut closing = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
    let (wanted, others) = closing.drain(..).partition(|(path, _)| is_wanted(path));
    *closing = others;
    drop(closing);
    let wanted: Vec<(PathBuf, JoinHandle<()>)> = wanted;
    for (_, thread) in wanted {
        // The thread catches panics of redb; there is nothing to do about any other.
        let _ended = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Redb;
    use super::*;
    use crate::store::error::StoreError;
    use crate::store::limits::StoreQuota;
    use crate::store::value::{Condition, Durability, Write};

    fn write() -> Write {
        let (key, value) = ("a".to_owned(), Bytes::from_static(b"1"));
        Write::Set { key, value, ttl_ms: None, condition: Condition::Always }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_relaxed_write_is_on_disk_at_the_end_although_a_task_still_has_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relaxed.redb");
        let held = Redb::open(path.clone(), Durability::Relaxed, StoreQuota::new(1 << 20)).await.unwrap();
        held.write(write()).await.unwrap();

        // The end of the process, as far as this store is concerned: the others belong to other tests.
        close(|open| open == path);

        // The file is whole and closed, so another owner opens it.
        let next = Redb::open(path, Durability::Relaxed, StoreQuota::new(1 << 20)).await.unwrap();
        assert_eq!(next.get("a").unwrap().unwrap().value, &b"1"[..]);
        assert!(matches!(held.write(write()).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(held.get("a"), Err(StoreError::Unavailable(_))));
    }
}
