//! Outcomes of the last reloads, for `status`, metrics and the service manager.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The outcomes of the last reloads. The start of the daemon counts as the first.
#[derive(Default, Debug)]
pub struct Reloads(Mutex<LastOutcomes>);

/// The last outcomes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct LastOutcomes {
    /// When the current configuration took effect.
    pub succeeded: Option<SystemTime>,
    /// When and why the last reload was refused; `None` if it succeeded.
    pub refused: Option<(SystemTime, String)>,
    /// When and why changed secrets were refused; `None` if the current secrets are in force.
    pub secrets_refused: Option<(SystemTime, String)>,
}

impl Reloads {
    /// Records the outcome of a reload.
    pub fn ended(&self, outcome: Result<(), String>) {
        let mut last = self.lock();
        match outcome {
            // A successful reload has also read the secrets.
            Ok(()) => *last = LastOutcomes { succeeded: Some(SystemTime::now()), ..LastOutcomes::default() },
            Err(reason) => last.refused = Some((SystemTime::now(), reason)),
        }
    }

    /// Records the outcome of a reload of secrets alone; the outcome of the configuration stays.
    pub fn refreshed(&self, outcome: Result<(), String>) {
        self.lock().secrets_refused = outcome.err().map(|reason| (SystemTime::now(), reason));
    }

    /// Returns the last outcomes.
    pub fn last(&self) -> LastOutcomes {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, LastOutcomes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LastOutcomes {
    /// Reports whether the configuration in force is the one requested last.
    pub fn is_successful(&self) -> bool {
        self.succeeded.is_some() && self.refused.is_none()
    }
}
