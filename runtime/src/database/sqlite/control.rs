//! Stops a running statement: when its job is gone, or when its time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::file::SqliteFile;
use super::memory;
use super::meter::StatementMeter;
use crate::database::caller::SqlCaller;
use crate::database::limits::{CROWDED, DATABASE_WAIT, TRANSACTION};

/// The state that a connection's thread and the job that uses it share.
///
/// SQLite's own interrupt is a flag that a statement of the next job could find still set. A number of each statement
/// cannot be mistaken.
pub(super) struct StatementControl {
    origin: Instant,
    /// The number of the statement that runs.
    current: AtomicU64,
    /// The highest number that is to stop.
    cancelled: AtomicU64,
    /// When the current statement is to stop, in milliseconds after `origin`.
    deadline_ms: AtomicU64,
    /// When it has to stop if the log of changes is too long, in the same way.
    crowded_deadline_ms: AtomicU64,
    /// The rows that the connection had changed before the statement or the transaction that runs.
    changes_before: AtomicU64,
    file: Arc<SqliteFile>,
    meter: StatementMeter,
}

/// Whom a statement is run for, and until when.
pub(super) struct StatementTerms {
    /// When its transaction began, or it itself.
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
    /// Who pays for it.
    pub(super) caller: Option<Arc<SqlCaller>>,
}

impl StatementControl {
    pub(super) fn new(file: Arc<SqliteFile>) -> StatementControl {
        StatementControl {
            origin: Instant::now(),
            current: AtomicU64::new(u64::MAX),
            cancelled: AtomicU64::new(0),
            deadline_ms: AtomicU64::new(u64::MAX),
            crowded_deadline_ms: AtomicU64::new(u64::MAX),
            changes_before: AtomicU64::new(0),
            file,
            meter: StatementMeter::default(),
        }
    }

    /// Begins a statement, on the thread that runs it.
    pub(super) fn begin(&self, number: u64, StatementTerms { begun, deadline, caller }: StatementTerms) {
        self.deadline_ms.store(self.place_of(deadline), Ordering::Relaxed);
        self.crowded_deadline_ms.store(self.place_of(begun + CROWDED), Ordering::Relaxed);
        self.current.store(number, Ordering::Relaxed);
        memory::forget_refusal();
        self.meter.begin(caller);
    }

    /// Ends a statement. Returns whether its caller has used up its processor time.
    pub(super) fn end(&self) -> bool {
        self.meter.end()
    }

    /// Begins a statement of the daemon's own, which may run for so long.
    pub(super) fn begin_own(&self, number: u64, time: Duration) {
        let now = Instant::now();
        // Readers are held to the bound of the log; this one ends by itself.
        self.begin(number, StatementTerms { begun: now + time, deadline: now + time, caller: None });
    }

    fn place_of(&self, moment: Instant) -> u64 {
        let distance = moment.saturating_duration_since(self.origin).as_millis();
        u64::try_from(distance).unwrap_or(u64::MAX)
    }

    /// Sets how many rows the connection has changed, where a statement or a transaction begins.
    pub(super) fn set_changes_before(&self, changes: u64) {
        self.changes_before.store(changes, Ordering::Relaxed);
    }

    pub(super) fn changes_before(&self) -> u64 {
        self.changes_before.load(Ordering::Relaxed)
    }

    /// Stops a statement, whether it runs or has not begun.
    pub(super) fn cancel(&self, number: u64) {
        self.cancelled.fetch_max(number, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self, number: u64) -> bool {
        self.cancelled.load(Ordering::Relaxed) >= number
    }

    /// Whether the current statement is to stop.
    pub(super) fn is_over(&self) -> bool {
        let now = self.place_of(Instant::now());
        self.is_cancelled(self.current.load(Ordering::Relaxed))
            || now >= self.deadline_ms.load(Ordering::Relaxed)
    }

    /// The same, while the statement computes.
    pub(super) fn has_to_stop(&self) -> bool {
        let is_crowded = || {
            let now = self.place_of(Instant::now());
            self.file.is_crowded() && now >= self.crowded_deadline_ms.load(Ordering::Relaxed)
        };
        self.is_over() || self.meter.is_over() || is_crowded()
    }

    /// Returns why a transaction that is idle has to end; `None` if it may go on.
    pub(super) fn reason_to_end(&self, since: Instant) -> Option<&'static str> {
        match since.elapsed() {
            open if open >= TRANSACTION => Some("it was open for too long"),
            open if open >= CROWDED && self.file.is_crowded() => {
                Some("it was open while the log of changes was full")
            }
            _ => None,
        }
    }

    /// Waits for a lock that another connection holds, for the `count`th time. Returns whether to try again.
    #[expect(
        clippy::disallowed_methods,
        reason = "SQLite tells nobody when another connection gives up its lock"
    )]
    pub(super) fn wait_for_lock(&self, count: i32) -> bool {
        const STEP: Duration = Duration::from_millis(2);
        let waited = STEP.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        if self.is_over() || waited > DATABASE_WAIT {
            return false;
        }
        std::thread::sleep(STEP);
        true
    }

    /// Whether the thread that uses it has a lower priority than others.
    pub(super) fn is_slow(&self) -> bool {
        self.meter.is_slow()
    }

    pub(super) fn file(&self) -> &SqliteFile {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rusqlite::Connection;

    use super::*;
    use crate::database::sqlite::failure;

    #[test]
    fn memory_that_an_earlier_statement_was_refused_is_no_reason_for_a_later_error() {
        memory::count_by_thread();
        let path = PathBuf::from("a.sqlite");
        let control = StatementControl::new(Arc::new(SqliteFile::new(path.clone(), Arc::default())));
        let connection = Connection::open_in_memory().unwrap();

        control.begin_own(1, Duration::from_secs(60));
        memory::bound_this_thread(1 << 19);
        let large = connection.query_row("SELECT length(randomblob(1000000))", [], |_| Ok(()));
        memory::bound_this_thread(i64::MAX);
        let refused = large.unwrap_err();
        assert_eq!(failure::of(&path, &refused).code(), "too_large");

        // The same error, as if all others had the memory.
        control.begin_own(2, Duration::from_secs(60));
        assert_eq!(failure::of(&path, &refused).code(), "conflict");
    }
}
