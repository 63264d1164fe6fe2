//! What the daemon writes for itself, and how often that fails: disks are full, and readers go.

use std::sync::atomic::{AtomicU64, Ordering};

/// The lines of the log, those of requests among them.
pub static LOG: Writes = Writes::new("log");
/// Compiled modules, kept for the next start.
pub static CACHE: Writes = Writes::new("cache");
/// Failed jobs, kept to be run again.
pub static RECORD: Writes = Writes::new("record");

/// All that is counted.
pub static ALL: [&Writes; 3] = [&LOG, &CACHE, &RECORD];

/// Counts one kind of writes. Each row of failures has one line in the log and one at its end, however
/// long it is.
#[derive(Debug)]
pub struct Writes {
    /// What is written, in a word.
    pub what: &'static str,
    failed: AtomicU64,
    /// Those since the last that succeeded.
    row: AtomicU64,
}

impl Writes {
    const fn new(what: &'static str) -> Writes {
        Writes { what, failed: AtomicU64::new(0), row: AtomicU64::new(0) }
    }

    /// Counts a failure. True: it is the first of its row, and whoever reads the log wants to know.
    pub fn fail(&self) -> bool {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.row.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Notes a success, and returns how many failures were in front of it, if any were.
    pub fn succeed(&self) -> Option<u64> {
        if self.row.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.row.swap(0, Ordering::Relaxed)).filter(|failures| *failures > 0)
    }

    /// Returns how many have failed in all.
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
