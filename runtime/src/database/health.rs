//! Whether a database can be reached, as its users find it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::SqlError;
use crate::observe::FailureLog;

/// The state of a database, as its users have found it.
#[derive(Default)]
pub(super) struct DatabaseHealth {
    /// Whether there is a failure: looked at without the lock.
    has_failed: AtomicBool,
    failure: Mutex<Option<SqlError>>,
    log: FailureLog,
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
        if let Some(line) = self.log.line("database", name, error) {
            tracing::warn!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_known_until_the_database_is_reached() {
        let health = DatabaseHealth::default();
        let failed: Result<(), _> = Err(SqlError::Unavailable("no server".to_owned()));

        health.note(&failed);
        health.note::<()>(&Err(SqlError::Timeout("slow".to_owned())));
        health.note::<()>(&Err(SqlError::Invalid("two values for one parameter".to_owned())));
        assert_eq!(health.error(), failed.clone().err());

        health.note::<()>(&Err(SqlError::Constraint("unique".to_owned())));
        assert_eq!(health.error(), None);
    }
}
