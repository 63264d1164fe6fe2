//! The built-in jobs by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::job::{HandlerVersion, Name, NameError};

/// The built-in jobs.
#[derive(Default)]
pub struct Registry(RwLock<BTreeMap<Name, Arc<HandlerVersion>>>);

/// Why a job cannot be registered.
#[derive(Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// The name is not a valid job name.
    Name(NameError),
    /// The name is taken; nothing is overwritten.
    Taken(Name),
}

impl Registry {
    /// Adds a job under the name of its entry.
    ///
    /// # Errors
    /// The name is taken.
    pub(super) fn add(&self, entry: HandlerVersion) -> Result<(), RegisterError> {
        let mut jobs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if jobs.contains_key(&entry.name) {
            return Err(RegisterError::Taken(entry.name));
        }
        jobs.insert(entry.name.clone(), Arc::new(entry));
        Ok(())
    }

    /// Finds a job by its exact name.
    pub fn find(&self, name: &str) -> Option<Arc<HandlerVersion>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Lists the names, sorted.
    pub fn names(&self) -> Vec<Name> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::Name(error) => error.fmt(f),
            RegisterError::Taken(name) => write!(f, "a job named {name} is registered already"),
        }
    }
}

impl std::error::Error for RegisterError {}
