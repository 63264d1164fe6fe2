//! The state that all connections of one file share: paths, identity, quota, and the bound on the log of changes.
//!
//! A change is first written to the log, the file `-wal`. A checkpoint moves it into the file; the log is then used again
//! from its beginning, unless somebody reads what it holds. Readers that overlap would let it grow without end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::authorizer::Authorizer;
use crate::database::error::SqlError;
use crate::database::limits::LOG_LEAST;
use crate::file_place::{FileIdentity, FilePlace};

/// The time after which a log that was too long counts as short again, if nothing has been written meanwhile.
const CROWDED_FOR: Duration = Duration::from_secs(10);

/// The state of a file.
pub(in crate::database) struct SqliteFile {
    pub(super) path: PathBuf,
    /// The file that the connections have open.
    place: Mutex<FilePlace>,
    /// Whether copies that were left beside it have been removed.
    pub(super) swept: Once,
    log: PathBuf,
    quota: Arc<AtomicU64>,
    origin: Instant,
    /// Until when readers have little time, in milliseconds after `origin`.
    crowded_until_ms: AtomicU64,
}

impl SqliteFile {
    pub(in crate::database) fn new(path: PathBuf, quota: Arc<AtomicU64>) -> SqliteFile {
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let (origin, crowded_until_ms) = (Instant::now(), AtomicU64::new(0));
        let (place, swept) = (Mutex::default(), Once::new());
        SqliteFile { path, place, swept, log: log.into(), quota, origin, crowded_until_ms }
    }

    fn place(&self) -> MutexGuard<'_, FilePlace> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process has had the file open: it is not made again then.
    pub(super) fn is_known(&self) -> bool {
        self.place().identity().is_some()
    }

    /// Notes that the file has been opened, and returns its identity.
    ///
    /// # Errors
    /// The file is not the same as before, or is gone already.
    pub(super) fn note_opened(&self) -> Result<FileIdentity, SqlError> {
        let found = FileIdentity::at(&self.path).ok_or_else(|| self.lost())?;
        let mut place = self.place();
        match place.identity() {
            None => place.note(Some(found)),
            Some(known) if known == found => {}
            Some(_) => return Err(self.lost()),
        }
        Ok(found)
    }

    /// Checks that the path leads to the file; see [`FilePlace::is_lost`]. Returns the identity of the file, or `None` if
    /// it has not been opened yet.
    ///
    /// # Errors
    /// The file was removed or replaced: what is written to it would be lost.
    pub(super) fn check_place(&self) -> Result<Option<FileIdentity>, SqlError> {
        let mut place = self.place();
        match place.is_lost(&self.path) {
            true => Err(self.lost()),
            false => Ok(place.identity()),
        }
    }

    /// Reports whether the path no longer leads to this file. Looks at once.
    pub(super) fn has_lost(&self, known: FileIdentity) -> bool {
        FileIdentity::at(&self.path) != Some(known)
    }

    /// Takes the file that is at the path now. A missing file stays `unavailable`.
    pub(super) fn adopt(&self) {
        let mut place = self.place();
        if place.identity().is_some()
            && let Some(found) = FileIdentity::at(&self.path)
        {
            place.note(Some(found));
        }
    }

    /// Reports whether [`adopt`](SqliteFile::adopt) would take another file than the open file.
    pub(super) fn is_replaced(&self) -> bool {
        let found = FileIdentity::at(&self.path);
        let known = self.place().identity();
        known.is_some() && found.is_some() && found != known
    }

    fn lost(&self) -> SqlError {
        SqlError::Unavailable(format!(
            "{} was removed or replaced while the daemon had it open: restore the file and reload",
            self.path.display()
        ))
    }

    /// Returns the bytes that the file may have.
    pub(super) fn quota(&self) -> u64 {
        self.quota.load(Ordering::Relaxed)
    }

    /// Whether readers hold up a log that is too long, so that they have little time.
    pub(super) fn is_crowded(&self) -> bool {
        let until = self.crowded_until_ms.load(Ordering::Relaxed);
        until > 0 && self.origin.elapsed().as_millis() < u128::from(until)
    }

    /// Checks that the log has room, before a statement that writes or begins a transaction. Outside of a transaction a
    /// log that is too long is emptied, as soon as nobody reads it.
    ///
    /// # Errors
    /// The log is too long, and is still read.
    pub(super) fn check_log(&self, connection: &Connection, authorizer: &Authorizer) -> Result<(), SqlError> {
        if self.is_long() {
            let until = (self.origin.elapsed() + CROWDED_FOR).as_millis();
            self.crowded_until_ms.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
            if connection.is_autocommit() {
                let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
                // Whether it was done is seen by the length of the log.
                let _done = authorizer.as_daemon(|| connection.query_row(checkpoint, [], |_| Ok(())));
            }
            if self.is_long() {
                return Err(SqlError::Conflict(
                    "the log of changes is full, and other transactions or statements read it".to_owned(),
                ));
            }
        }
        if self.crowded_until_ms.load(Ordering::Relaxed) > 0 {
            self.crowded_until_ms.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether the log has more bytes than it may have. One transaction adds as many as the quota at the most.
    fn is_long(&self) -> bool {
        let length = std::fs::metadata(&self.log).map_or(0, |log| log.len());
        length > self.quota().max(LOG_LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::sqlite::authorizer::Author;
    use crate::database::sqlite::memory;

    #[test]
    fn a_log_that_nobody_reads_is_emptied_and_another_is_not_written_to() {
        memory::count_by_thread();
        let place = tempfile::tempdir().unwrap();
        let state = SqliteFile::new(place.path().join("a.sqlite"), Arc::new(AtomicU64::new(1 << 20)));
        let (writer, reader) =
            (Connection::open(&state.path).unwrap(), Connection::open(&state.path).unwrap());
        writer.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
        writer.execute_batch("CREATE TABLE t (a)").unwrap();
        let authorizer = Authorizer::new(Author::Daemon);
        let fill = || {
            while std::fs::metadata(&state.log).unwrap().len() <= LOG_LEAST {
                writer.execute("INSERT INTO t VALUES (zeroblob(1000000))", []).unwrap();
            }
        };
        assert!(state.check_log(&writer, &authorizer).is_ok() && !state.is_crowded());

        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        fill();
        let refused = state.check_log(&writer, &authorizer).unwrap_err();
        assert!(refused.code() == "conflict" && state.is_crowded(), "{refused}");

        reader.execute_batch("ROLLBACK").unwrap();
        state.check_log(&writer, &authorizer).unwrap();
        assert_eq!(std::fs::metadata(&state.log).unwrap().len(), 0);
        assert!(!state.is_crowded());
    }
}
