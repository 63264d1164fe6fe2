//! Whether a database can be reached, as its users find it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::SqlError;
use crate::observe::plain;

/// The time between two lines of the log about the same database: each statement of a job may fail.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The state of a database, as its users have found it.
#[derive(Default)]
pub(super) struct DatabaseHealth {
    /// Whether there is a failure: looked at without the lock.
    has_failed: AtomicBool,
    failure: Mutex<Option<SqlError>>,
    logged: Mutex<Option<Instant>>,
}

impl DatabaseHealth {
    fn failure(&self) -> MutexGuard<'_, Option<SqlError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the last failure if the database has not been reached since.
    pub(super) fn error(&self) -> Option<SqlError> {
        self.failure().clone()
    }

    /// Notes how a statement has ended.
    pub(super) fn note<T>(&self, outcome: &Result<T, SqlError>) {
        match outcome {
            Err(error @ (SqlError::Unavailable(_) | SqlError::Corrupt(_))) => {
                *self.failure() = Some(error.clone());
                self.has_failed.store(true, Ordering::Relaxed);
            }
            // The cause may be the database or the statement. An invalid statement may not have been sent at all.
            Err(SqlError::Timeout(_) | SqlError::Interrupted(_) | SqlError::Invalid(_)) => {}
            Ok(_)
            | Err(
                SqlError::NotAllowed(_)
                | SqlError::Constraint(_)
                | SqlError::Conflict(_)
                | SqlError::QuotaExceeded
                | SqlError::TooLarge(_)
                | SqlError::Migration(_),
            ) => {
                if self.has_failed.swap(false, Ordering::Relaxed) {
                    *self.failure() = None;
                }
            }
        }
    }

    /// Logs the failure of a statement of a job, now and then.
    pub(super) fn log<T>(&self, name: &str, outcome: &Result<T, SqlError>) {
        let Err(error @ (SqlError::Unavailable(_) | SqlError::Corrupt(_))) = outcome else { return };
        if self.is_due() {
            // A handler may have written the text of the server: `RAISE` of PL/pgSQL.
            tracing::warn!("database {name:?}: {}", plain(&error.to_string()));
        }
    }

    fn is_due(&self) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY);
        if is_due {
            *logged = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_known_until_the_database_is_reached_and_logged_once() {
        let health = DatabaseHealth::default();
        let failed: Result<(), _> = Err(SqlError::Unavailable("no server".to_owned()));

        health.note(&failed);
        health.note::<()>(&Err(SqlError::Timeout("slow".to_owned())));
        health.note::<()>(&Err(SqlError::Invalid("two values for one parameter".to_owned())));
        assert_eq!(health.error(), failed.clone().err());
        assert!(health.is_due() && !health.is_due());

        health.note::<()>(&Err(SqlError::Constraint("unique".to_owned())));
        assert_eq!(health.error(), None);
    }
}
