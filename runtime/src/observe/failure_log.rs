//! The lines of the log about a store or a database that fails its users, now and then.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::escape::plain;

/// The time between two lines: each operation of a job may fail.
const EVERY: Duration = Duration::from_secs(10);

/// When a failure was logged last.
#[derive(Default)]
pub struct FailureLog(Mutex<Option<Instant>>);

impl FailureLog {
    /// Returns the line about a failure of this store or database, if one is due. The caller logs it, as its own.
    pub fn line(&self, what: &str, name: &str, error: &dyn Display) -> Option<String> {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_some_and(|logged| logged.elapsed() < EVERY) {
            return None;
        }
        *logged = Some(Instant::now());
        // A server may answer in several lines, and a handler may have written them: `RAISE` of PL/pgSQL.
        Some(format!("{what} {name:?}: {}", plain(&error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_at_one_time_are_one_line() {
        let log = FailureLog::default();

        let line = log.line("store", "a", &"no\nserver");

        assert_eq!(line.as_deref(), Some("store \"a\": no\\nserver"));
        assert_eq!(log.line("store", "a", &"no server"), None);
    }
}
