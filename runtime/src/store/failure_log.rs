//! The lines of the log about a store that fails its users, now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::StoreError;
use crate::observe::plain;

/// The time between two lines about the same store: each operation of a job may fail.
const FAILURE_LOGGED_EVERY: Duration = Duration::from_secs(10);

/// When a failure of a store was logged last.
#[derive(Default)]
pub(super) struct FailureLog(Mutex<Option<Instant>>);

impl FailureLog {
    /// Logs the failure of an operation, if it is the store's and a line is due.
    pub(super) fn note(&self, name: &str, error: &StoreError) {
        if let Some(line) = self.line(name, error) {
            tracing::warn!("{line}");
        }
    }

    /// Returns the line, if one is due.
    fn line(&self, name: &str, error: &StoreError) -> Option<String> {
        if !error.is_outage() {
            return None;
        }
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_some_and(|logged| logged.elapsed() < FAILURE_LOGGED_EVERY) {
            return None;
        }
        *logged = Some(Instant::now());
        // A server may answer in several lines.
        Some(format!("store {name:?}: {}", plain(&error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_the_store_is_one_line_once() {
        let log = FailureLog::default();
        let down = StoreError::Unavailable("no\nserver".to_owned());

        assert_eq!(log.line("a", &StoreError::Overflow), None);
        let line = log.line("a", &down);

        assert_eq!(line.as_deref(), Some("store \"a\": the store cannot be reached: no\\nserver"));
        assert_eq!(log.line("a", &down), None);
    }
}
