//! The thread that writes: it commits all writes that wait, with one fsync.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::Database;

use super::failure;
use super::open::{Verify, open};
use super::tables::StoredRows;
use super::turns::{Pending, WriteTurns};
use super::view::OpenFile;
use crate::file_place::{FileIdentity, FilePlace};
use crate::observe::threads::thread_time;
use crate::store::error::StoreError;
use crate::store::limits::StoreQuota;
use crate::store::rows;
use crate::store::value::{Durability, Outcome};

/// Writes of one commit. More make the commit longer for the first of them.
const MAX_WRITES: usize = 1024;

/// Bytes of one commit, for the same reason.
const MAX_BYTES: usize = 8 << 20;

/// The time after which a relaxed write is on disk.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// The longest that a commit is held back for writes that are expected. It is held back no longer than the last one
/// took: after that, two commits are done sooner.
const GATHER: Duration = Duration::from_millis(1);

/// The time between attempts to open a file that failed.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// The same for a damaged file while nothing is written to it: each attempt reads the whole file.
const REOPEN_DAMAGED_AFTER: Duration = Duration::from_secs(10);

/// The longest that a view stays when nothing is written here. The pages of its commit cannot be used again, and
/// another process may write many.
const VIEW_FOR: Duration = Duration::from_secs(5);

/// The open file, shared with readers. An error while it cannot be used.
pub(super) type Current = Arc<RwLock<Result<Arc<OpenFile>, StoreError>>>;

/// The state of the thread.
pub(super) struct Committer {
    pub(super) path: PathBuf,
    pub(super) durability: Durability,
    pub(super) quota: StoreQuota,
    pub(super) current: Current,
    pub(super) place: FilePlace,
    /// The last attempt to open the file.
    pub(super) opened: Instant,
    /// Since when writes are acknowledged that are not on disk.
    pub(super) unflushed: Option<Instant>,
    /// The number of writes in the last commit, and the time that it took.
    pub(super) last: (usize, Duration),
    /// Writes that were queued and are not in a commit yet.
    pub(super) turns: WriteTurns,
    /// Microseconds that writes have waited until their commits began.
    pub(super) waited: Arc<AtomicU64>,
}

impl Committer {
    /// Commits writes until the last sender is dropped.
    pub(super) fn run(mut self, queue: &Receiver<Pending>) {
        while let Some(batch) = self.next(queue) {
            if batch.is_empty() {
                self.flush();
                // The thread logs a failure when it happens, and its readers get it.
                if let Ok(file) = self.open_file() {
                    file.forget();
                }
            } else {
                self.commit(batch);
            }
        }
        self.flush();
        // A holder of the store, which may outlive it, does not keep the file open.
        let closed = format!("{}: the store is closed", self.path.display());
        self.replace(Err(StoreError::Unavailable(closed)));
    }

    /// Returns the time after which the thread has something to do without a write: a flush, an attempt to open the
    /// file again, for readers, or to drop their view.
    fn due(&self) -> Duration {
        if let Some(since) = self.unflushed {
            return FLUSH_AFTER.saturating_sub(since.elapsed());
        }
        let after = match &*self.current.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(_) => return VIEW_FOR,
            Err(StoreError::Corrupt(_)) => REOPEN_DAMAGED_AFTER,
            Err(_) => REOPEN_AFTER,
        };
        after.saturating_sub(self.opened.elapsed())
    }

    /// Waits for writes. Returns none of them if something else is due, and `None` when there will be no more.
    fn next(&mut self, queue: &Receiver<Pending>) -> Option<Vec<Pending>> {
        if self.turns.is_empty() {
            match queue.recv_timeout(self.due()) {
                Ok(first) => self.turns.push(first),
                Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        // Clients that were in the last commit write again at once, one after another. Without the wait, the first of
        // them would have a commit for itself, and the others the next: half the throughput. A single client waits
        // for nobody.
        let (expected, took) = self.last;
        let deadline = Instant::now() + took.min(GATHER);
        while batch.len() < MAX_WRITES && bytes < MAX_BYTES {
            queue.try_iter().for_each(|pending| self.turns.push(pending));
            let next = match self.turns.pop() {
                None if batch.len() < expected => {
                    queue.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
                }
                next => next,
            };
            let Some(next) = next else { break };
            bytes += next.write.bytes();
            batch.push(next);
        }
        Some(batch)
    }

    /// Commits a batch and replies to each write.
    fn commit(&mut self, mut batch: Vec<Pending>) {
        // Nobody waits for their outcome: they are as if they had never been asked for.
        batch.retain(|pending| !pending.reply.is_closed());
        let (begun, start) = (Instant::now(), thread_time());
        let waited: Duration =
            batch.iter().map(|pending| begun.saturating_duration_since(pending.asked)).sum();
        self.waited.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let outcomes = self.open_file().and_then(|file| {
            let outcomes = failure::guarded(&self.path, || self.transaction(&file.database, &batch));
            if file.committed() && outcomes.is_ok() {
                // Here, and not in the next read. If it fails, that read gets the reason.
                let _renewed = failure::guarded(&self.path, || {
                    file.renew().map_err(|error| failure::of(&self.path, error))
                });
            }
            // Dropped before the file is discarded, which closes it.
            drop(file);
            outcomes.inspect_err(|error| self.discard(error))
        });
        self.last = (batch.len(), begun.elapsed());
        share(&batch, thread_time().saturating_sub(start));
        match outcomes {
            Ok(outcomes) => {
                let is_late = self.durability == Durability::Relaxed && self.unflushed.is_none();
                self.unflushed = if is_late { Some(Instant::now()) } else { self.unflushed };
                for (pending, outcome) in batch.into_iter().zip(outcomes) {
                    pending.settle(outcome);
                }
            }
            Err(error) => batch.into_iter().for_each(|pending| pending.settle(Err(error.clone()))),
        }
        if self.unflushed.is_some_and(|since| since.elapsed() >= FLUSH_AFTER) {
            self.flush();
        }
    }

    /// Runs a batch as one transaction.
    ///
    /// # Errors
    /// The file failed. The outcome of all writes is `Interrupted` if the commit itself failed.
    fn transaction(
        &self,
        database: &Database,
        batch: &[Pending],
    ) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        let path = &self.path;
        let mut transaction = database.begin_write().map_err(|error| failure::of(path, error))?;
        transaction.set_two_phase_commit(true);
        if self.durability == Durability::Relaxed {
            transaction.set_durability(redb::Durability::None).map_err(|error| failure::of(path, error))?;
        }
        let mut rows = StoredRows::open(path, &transaction)?;
        let (quota, now) = (self.quota.get(), rows::now());
        let mut outcomes = Vec::with_capacity(batch.len());
        for pending in batch {
            let outcome = rows::apply(&mut rows, &pending.write, quota, now);
            match outcome {
                Err(error) if error.is_outage() => return Err(error),
                outcome => outcomes.push(outcome),
            }
        }
        let is_changed = rows.finish()?;
        match is_changed {
            true => transaction
                .commit()
                .map_err(|error| StoreError::Interrupted(format!("{}: {error}", path.display())))?,
            // Swaps that lost need no fsync.
            false => transaction.abort().map_err(|error| failure::of(path, error))?,
        }
        Ok(outcomes)
    }

    /// Puts relaxed writes on disk.
    fn flush(&mut self) {
        if self.unflushed.take().is_none() {
            return;
        }
        let flushed = self.open_file().and_then(|file| {
            failure::guarded(&self.path, || {
                let mut transaction =
                    file.database.begin_write().map_err(|error| failure::of(&self.path, error))?;
                transaction.set_two_phase_commit(true);
                transaction.commit().map_err(|error| failure::of(&self.path, error))
            })
        });
        if let Err(error) = flushed {
            self.discard(&error);
        }
    }

    /// Returns the open file. Opens it again if it failed a while ago. A file that was removed is not made again.
    fn open_file(&mut self) -> Result<Arc<OpenFile>, StoreError> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Err(error) = current else {
            if !self.place.is_lost(&self.path) {
                return current;
            }
            // The file is closed when no operation uses it any more.
            drop(current);
            let lost = failure::lost(&self.path);
            self.discard(&lost);
            return Err(lost);
        };
        if self.opened.elapsed() < REOPEN_AFTER {
            return Err(error);
        }
        self.opened = Instant::now();
        if self.place.identity().is_some() && FileIdentity::at(&self.path).is_none() {
            return Err(failure::lost(&self.path));
        }
        // A damage is looked for where there was one.
        let verify = if matches!(error, StoreError::Corrupt(_)) { Verify::Whole } else { Verify::AfterCrash };
        let file = open(&self.path, self.durability, verify).map(Arc::new);
        if file.is_ok() {
            self.place.note(FileIdentity::at(&self.path));
        }
        self.replace(file.clone());
        file
    }

    /// Closes the file after an error: what redb has in memory may differ from what is on disk.
    fn discard(&mut self, error: &StoreError) {
        self.unflushed = None;
        self.opened = Instant::now();
        tracing::error!("store {}: {error}", self.path.display());
        let error = match error {
            StoreError::Interrupted(why) => StoreError::Unavailable(why.clone()),
            error => error.clone(),
        };
        self.replace(Err(error));
    }

    fn replace(&self, file: Result<Arc<OpenFile>, StoreError>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, file);
        // Closing takes time; readers need not wait for it.
        drop(current);
        drop(old);
    }
}

/// Charges the time of a commit to the callers of its writes, before they go on.
fn share(batch: &[Pending], spent: Duration) {
    let all: usize = batch.iter().map(|pending| pending.share.units()).sum();
    for pending in batch {
        if let Some(payer) = &pending.payer {
            payer.add_commit(spent, pending.share.units(), all);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_file_that_failed_is_opened_again_without_a_write() {
        let dir = tempfile::tempdir().unwrap();
        let failed = StoreError::Unavailable("the disk was full".to_owned());
        let current: Current = Arc::new(RwLock::new(Err(failed)));
        let committer = Committer {
            path: dir.path().join("a.redb"),
            durability: Durability::Sync,
            quota: StoreQuota::new(1 << 20),
            current: current.clone(),
            place: FilePlace::default(),
            opened: Instant::now(),
            unflushed: None,
            last: (0, Duration::ZERO),
            turns: WriteTurns::default(),
            waited: Arc::default(),
        };
        let (queue, waiting) = mpsc::channel();
        let thread = std::thread::spawn(move || committer.run(&waiting));

        let deadline = Instant::now() + Duration::from_secs(20);
        while current.read().unwrap().is_err() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        drop(queue);
        thread.join().unwrap();
    }
}
