//! How the last reload of the configuration ended, for `status`, metrics and the service manager.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The ends of the last reloads. The start of the daemon is the first one.
#[derive(Default, Debug)]
pub struct Reloads(Mutex<Last>);

/// What is known of them.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Last {
    /// When the configuration in force was put into force.
    pub succeeded: Option<SystemTime>,
    /// Why the last one was refused, and when; `None`: it was not.
    pub refused: Option<(SystemTime, String)>,
    /// Why changed secrets are not in force, and since when; `None`: they are.
    pub secrets_refused: Option<(SystemTime, String)>,
}

impl Reloads {
    /// Notes how a reload has ended.
    pub fn ended(&self, outcome: Result<(), String>) {
        let mut last = self.lock();
        match outcome {
            // It has read the secrets as well.
            Ok(()) => *last = Last { succeeded: Some(SystemTime::now()), ..Last::default() },
            Err(reason) => last.refused = Some((SystemTime::now(), reason)),
        }
    }

    /// Notes how it has ended that secrets alone were read anew, which tells nothing of the configuration.
    pub fn refreshed(&self, outcome: Result<(), String>) {
        self.lock().secrets_refused = outcome.err().map(|reason| (SystemTime::now(), reason));
    }

    /// Returns what is known.
    pub fn last(&self) -> Last {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    /// Reports whether what is in force is what was asked for last.
    pub fn is_successful(&self) -> bool {
        self.succeeded.is_some() && self.refused.is_none()
    }
}
