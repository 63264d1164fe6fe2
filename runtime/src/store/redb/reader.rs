//! `Redb`, the back end of a store in a file: it reads where it is asked, and queues writes for the committer.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase as _};
use tokio::sync::{mpsc, oneshot};

use super::closing::{self, CommitQueue};
use super::committer::{Committer, Current};
use super::failure;
use super::open::{Verify, open};
use super::tables::{self, ENTRIES};
use super::turns::{Pending, WriteTurns};
use super::view::OpenFile;
use crate::file_place::{FileIdentity, FilePlace};
use crate::observe::threads::thread_time;
use crate::store::error::StoreError;
use crate::store::limits::{self, StoreQuota};
use crate::store::room::WriteRooms;
use crate::store::rows::{self, PageBuilder, is_live};
use crate::store::value::{Durability, EntryBatch, KeyPage, Outcome, StoreEntry, Versioned, Write};
use crate::store::work;

/// Batches of a listing of all entries that wait for their reader. The batch that is being read is not counted.
const BATCHES_AHEAD: usize = 1;

/// Bytes after which such a batch ends.
const BATCH_BYTES: usize = 1 << 20;

/// A store in a file.
pub(in crate::store) struct Redb {
    path: Arc<Path>,
    current: Current,
    queue: Arc<CommitQueue>,
    rooms: WriteRooms,
    /// Microseconds that writes have waited until their commits began.
    waited: Arc<AtomicU64>,
}

impl Redb {
    /// Opens the file, or makes it, and starts the thread that commits.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(in crate::store) async fn open(
        path: PathBuf,
        durability: Durability,
        quota: StoreQuota,
    ) -> Result<Redb, StoreError> {
        let shared: Arc<Path> = path.into();
        let (queue, waiting) = std_mpsc::channel();
        let (opened, is_open) = oneshot::channel();
        let path = shared.to_path_buf();
        let waited = Arc::<AtomicU64>::default();
        let counted = waited.clone();
        let thread = thread::Builder::new().name("store".to_owned()).spawn(move || {
            closing::wait_for(&path);
            let file = match open(&path, durability, Verify::Whole) {
                Ok(file) => Arc::new(file),
                Err(error) => return drop(opened.send(Err(error))),
            };
            let current: Current = Arc::new(RwLock::new(Ok(file)));
            if opened.send(Ok(current.clone())).is_ok() {
                let opened = Instant::now();
                let mut place = FilePlace::default();
                place.note(FileIdentity::at(&path));
                let committer = Committer {
                    path,
                    durability,
                    quota,
                    current,
                    place,
                    opened,
                    unflushed: None,
                    last: (0, Duration::ZERO),
                    turns: WriteTurns::default(),
                    waited: counted,
                };
                committer.run(&waiting);
            }
        });
        let thread = thread.map_err(|error| StoreError::Unavailable(format!("no thread: {error}")))?;
        let current = match is_open.await {
            Ok(current) => current?,
            Err(_) => return Err(failure::corrupt(shared.display(), "it cannot be opened")),
        };
        let queue = CommitQueue::new(shared.clone(), queue, thread);
        Ok(Redb { path: shared, current, queue, rooms: WriteRooms::new(), waited })
    }

    /// Closes the file when what is queued is written. Does not block.
    pub(in crate::store) fn close(&self) {
        self.queue.close();
    }

    /// Returns the time that writes have waited until their commits began.
    pub(in crate::store) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }

    /// Returns the open file.
    fn open_file(&self) -> Result<Arc<OpenFile>, StoreError> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(in crate::store) fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let file = self.open_file()?;
        read(&self.path, &file, |file| {
            let row = file.view()?.entries.get(key)?.map(|found| tables::row(found.value()));
            Ok(row.and_then(|row| row.live(rows::now())))
        })
    }

    pub(in crate::store) async fn get_many(
        &self,
        keys: &[String],
    ) -> Result<Vec<Option<Versioned>>, StoreError> {
        let keys = keys.to_vec();
        let values = self.read_many(move |file| {
            let view = file.view()?;
            let now = rows::now();
            let mut bytes = 0;
            let mut values = Vec::with_capacity(keys.len());
            for key in &keys {
                let found = view.entries.get(key.as_str())?;
                let live = found.as_ref().map(|found| found.value()).filter(|row| is_live(row.1, now));
                // Before it is copied.
                if let Err(error) = limits::add_read(&mut bytes, live.map_or(0, |(_, _, value)| value.len()))
                {
                    return Ok(Err(error));
                }
                values.push(live.map(tables::row).and_then(|row| row.live(now)));
            }
            Ok(Ok(values))
        });
        values.await?
    }

    pub(in crate::store) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read_many(move |file| {
            let view = file.view()?;
            let start = match after.as_deref() {
                Some(after) if after >= prefix.as_str() => Bound::Excluded(after),
                _ => Bound::Included(prefix.as_str()),
            };
            let mut page = PageBuilder::new(&prefix, limit, rows::now());
            for entry in view.entries.range::<&str>((start, Bound::Unbounded))? {
                let (key, value) = entry?;
                let (_, expires, _) = value.value();
                if !page.add(key.value(), expires) {
                    break;
                }
            }
            Ok(page.page)
        })
        .await
    }

    /// Returns the bytes of all entries, as the quota counts them.
    pub(in crate::store) async fn used(&self) -> Result<u64, StoreError> {
        self.read_many(|file| tables::used(&file.database.begin_read()?)).await
    }

    /// Reads all entries with a prefix, as they are at one moment, on a thread of its own that ends with the receiver.
    ///
    /// # Errors
    /// The file cannot be read, or there is no thread.
    pub(in crate::store) fn entries(&self, prefix: &str) -> Result<mpsc::Receiver<EntryBatch>, StoreError> {
        let (path, file, prefix) = (self.path.clone(), self.open_file()?, prefix.to_owned());
        let (batches, receiver) = mpsc::channel(BATCHES_AHEAD);
        let reading = move || {
            let read = read(&path, &file, |file| scan(&file.database, &prefix, &batches));
            if let Err(error) = read {
                // The receiver may have left.
                let _gone = batches.blocking_send(Err(error));
            }
        };
        let thread = thread::Builder::new().name("store".to_owned()).spawn(reading);
        thread.map_err(|error| StoreError::Unavailable(format!("no thread: {error}")))?;
        Ok(receiver)
    }

    /// Reads many rows on a thread that may block.
    async fn read_many<T: Send + 'static>(
        &self,
        reads: impl FnOnce(&OpenFile) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (path, file) = (self.path.clone(), self.open_file()?);
        let payer = work::payer();
        let read = tokio::task::spawn_blocking(move || {
            let start = thread_time();
            let read = read(&path, &file, reads);
            if let Some(payer) = payer {
                payer.add_read(thread_time().saturating_sub(start));
            }
            read
        });
        let ended = |error| StoreError::Unavailable(format!("the read was ended: {error}"));
        read.await.unwrap_or_else(|error| Err(ended(error)))
    }

    /// Returns the outcome of a write when its commit is done.
    ///
    /// # Cancel safety
    /// A write that is dropped before its commit has begun is not done.
    pub(in crate::store) async fn write(&self, write: Write) -> Result<Outcome, StoreError> {
        let ended = || StoreError::Unavailable(format!("{}: the store is closed", self.path.display()));
        let (payer, asked) = (work::payer(), Instant::now());
        let share = self.rooms.enter(write.bytes(), work::line()).await;
        let (reply, outcome) = oneshot::channel();
        if !self.queue.send(Pending { write, reply, share, payer, asked }) {
            return Err(ended());
        }
        outcome.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// Sends the entries with a prefix, batch by batch, until the receiver is gone.
fn scan(database: &Database, prefix: &str, batches: &mpsc::Sender<EntryBatch>) -> Result<(), redb::Error> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    let now = rows::now();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for entry in entries.range::<&str>((Bound::Included(prefix), Bound::Unbounded))? {
        let (key, value) = entry?;
        let key = key.value();
        if !key.starts_with(prefix) {
            break;
        }
        let Some(current) = Some(value.value()).filter(|row| is_live(row.1, now)) else { continue };
        let Some(current) = tables::row(current).live(now) else { continue };
        bytes += key.len() + current.value.len();
        batch.push(StoreEntry { key: key.to_owned(), current });
        if batch.len() == limits::MAX_BATCH || bytes >= BATCH_BYTES {
            bytes = 0;
            if batches.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return Ok(());
            }
        }
    }
    // A receiver that is gone needs nothing.
    let _gone = batches.blocking_send(Ok(batch));
    Ok(())
}

/// Reads from the last commit. Waits neither for a commit nor for an fsync.
fn read<T>(
    path: &Path,
    file: &OpenFile,
    read: impl FnOnce(&OpenFile) -> Result<T, redb::Error>,
) -> Result<T, StoreError> {
    failure::guarded(path, || read(file).map_err(|error| failure::of(path, error)))
}
