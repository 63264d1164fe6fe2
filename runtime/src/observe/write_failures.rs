//! Counts failed writes of the daemon to its log, cache and records.

use std::sync::atomic::{AtomicU64, Ordering};

/// The lines of the log, including an access log without a file.
pub static LOG: Writes = Writes::new("log");
/// The lines of the access log, if it has a file.
pub static ACCESS_LOG: Writes = Writes::new("access_log");
/// Compiled modules, cached for the next start.
pub static CACHE: Writes = Writes::new("cache");
/// Failed jobs, recorded to be run again.
pub static RECORD: Writes = Writes::new("record");

/// All counters.
pub static ALL: [&Writes; 4] = [&LOG, &ACCESS_LOG, &CACHE, &RECORD];

/// Counts the failures of one kind of writes. A run of failures costs two lines in the log, one at its start and one
/// at its end.
#[derive(Debug)]
pub struct Writes {
    /// The kind of write, in one word.
    pub what: &'static str,
    failed: AtomicU64,
    /// The failures since the last success.
    row: AtomicU64,
}

impl Writes {
    const fn new(what: &'static str) -> Writes {
        Writes { what, failed: AtomicU64::new(0), row: AtomicU64::new(0) }
    }

    /// Counts a failure. Returns `true` if it is the first of a run, which should be logged.
    pub fn fail(&self) -> bool {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.row.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Records a success. Returns how many failures preceded it, if any.
    pub fn succeed(&self) -> Option<u64> {
        if self.row.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.row.swap(0, Ordering::Relaxed)).filter(|failures| *failures > 0)
    }

    /// Returns the total number of failures.
    pub fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_failures_is_told_at_its_beginning_and_at_its_end() {
        let writes = Writes::new("test");

        assert_eq!(writes.succeed(), None);
        assert_eq!([writes.fail(), writes.fail(), writes.fail()], [true, false, false]);
        assert_eq!((writes.succeed(), writes.succeed()), (Some(3), None));
        assert!(writes.fail());
        assert_eq!(writes.failures(), 4);
    }
}
