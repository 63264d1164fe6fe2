//! A store in a file, as the other back ends look.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use redb::{Database, ReadableDatabase as _};
use tokio::sync::{Semaphore, oneshot};

use super::committer::{Committer, Current, Pending};
use super::failure;
use super::open::open;
use super::tables::{self, ENTRIES};
use crate::store::error::StoreError;
use crate::store::rows::{self, is_live};
use crate::store::value::{Durability, KeyPage, Outcome, Versioned, Write};

/// Bytes of writes that wait for their commit.
const QUEUE: usize = 32 << 20;

/// The unit in which the queue is counted. Every write counts for one at least.
const UNIT: usize = 1 << 10;

/// A store in a file.
pub(in crate::store) struct Redb {
    path: Arc<Path>,
    current: Current,
    queue: Option<mpsc::Sender<Pending>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Redb {
    /// Opens the file, or makes it, and starts the thread that commits.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(in crate::store) async fn open(
        path: PathBuf,
        durability: Durability,
        quota: u64,
    ) -> Result<Redb, StoreError> {
        let shared: Arc<Path> = path.into();
        let (queue, waiting) = mpsc::channel();
        let (opened, is_open) = oneshot::channel();
        let path = shared.to_path_buf();
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || {
            let database = match open(&path, durability) {
                Ok(database) => Arc::new(database),
                Err(error) => return drop(opened.send(Err(error))),
            };
            let current: Current = Arc::new(RwLock::new(Ok(database)));
            if opened.send(Ok(current.clone())).is_ok() {
                let opened = Instant::now();
                Committer { path, durability, quota, current, opened, unflushed: None, last: 0 }
                    .run(&waiting);
            }
        });
        let thread = thread.map_err(|error| StoreError::Unavailable(format!("no thread: {error}")))?;
        let current = match is_open.await {
            Ok(current) => current?,
            Err(_) => return Err(failure::corrupt(shared.display(), "it cannot be opened")),
        };
        let room = Arc::new(Semaphore::new(QUEUE / UNIT));
        Ok(Redb { path: shared, current, queue: Some(queue), room, thread: Some(thread) })
    }

    /// Reads from the last commit. Waits neither for a commit nor for an fsync.
    fn read<T>(&self, read: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let database = self.current.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        failure::guarded(&self.path, || read(&database).map_err(|error| failure::of(&self.path, error)))
    }

    pub(in crate::store) fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.read(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let row = entries.get(key)?.map(|found| tables::row(found.value()));
            Ok(row.and_then(|row| row.live(rows::now())))
        })
    }

    pub(in crate::store) fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, StoreError> {
        self.read(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let now = rows::now();
            let get = |key: &String| {
                let row = entries.get(key.as_str())?.map(|found| tables::row(found.value()));
                Ok(row.and_then(|row| row.live(now)))
            };
            keys.iter().map(get).collect()
        })
    }

    pub(in crate::store) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, StoreError> {
        self.read(|database| {
            let entries = database.begin_read()?.open_table(ENTRIES)?;
            let start = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            let now = rows::now();
            let mut page = KeyPage::default();
            for entry in entries.range::<&str>((start, Bound::Unbounded))? {
                let (key, value) = entry?;
                let (_, expires, _) = value.value();
                match key.value() {
                    key if !key.starts_with(prefix) => break,
                    _ if !is_live(expires, now) => {}
                    _ if page.keys.len() == limit => {
                        page.cursor = page.keys.last().cloned();
                        break;
                    }
                    key => page.keys.push(key.to_owned()),
                }
            }
            Ok(page)
        })
    }

    /// Returns the outcome of a write when its commit is done.
    ///
    /// # Cancel safety
    /// A write that is dropped before its commit has begun is not done.
    pub(in crate::store) async fn write(&self, write: Write) -> Result<Outcome, StoreError> {
        let ended = || StoreError::Unavailable(format!("{}: the store is closed", self.path.display()));
        let units = u32::try_from(write.bytes() / UNIT + 1).unwrap_or(u32::MAX);
        let permit = self.room.clone().acquire_many_owned(units).await.map_err(|_| ended())?;
        let (reply, outcome) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(ended)?;
        queue.send(Pending { write, reply, permit }).map_err(|_| ended())?;
        outcome.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for Redb {
    /// Waits for what is queued: a relaxed write is on disk when its store is closed.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // The thread catches panics of redb; there is nothing to do about any other.
            let _ended = thread.join();
        }
    }
}
