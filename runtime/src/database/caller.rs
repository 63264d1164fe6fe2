//! The caller of a statement: it pays for the processor time of SQLite's threads, and takes turns with others.

use std::fmt;
use std::time::Duration;

/// A job that runs statements.
pub struct SqlCaller {
    line: usize,
    charge: Box<dyn Fn(Duration) -> bool + Send + Sync>,
}

impl SqlCaller {
    /// Makes the caller of a job. Callers with the same line, which is any number, are queued together. `charge` is
    /// called with processor time as it is spent, on a thread of SQLite's, and returns whether the job may use more.
    pub fn new(line: usize, charge: impl Fn(Duration) -> bool + Send + Sync + 'static) -> SqlCaller {
        SqlCaller { line, charge: Box::new(charge) }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Charges processor time. Returns whether the job may use more.
    pub(super) fn charge(&self, time: Duration) -> bool {
        (self.charge)(time)
    }
}

impl fmt::Debug for SqlCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlCaller").field("line", &self.line).finish_non_exhaustive()
    }
}
