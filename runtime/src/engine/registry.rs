//! The built-in jobs by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::job::{Conduct, Entry, Env, Handler, Kind, Limits, Mapping, Name, NameError, Slots};

/// The built-in jobs, and the catch-all job for unknown names.
#[derive(Default)]
pub struct Registry(RwLock<Known>);

#[derive(Default)]
struct Known {
    jobs: BTreeMap<Name, Arc<Entry>>,
    catch_all: Option<Arc<dyn Handler>>,
}

/// Why a job cannot be registered.
#[derive(Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// The name is not a valid job name.
    Name(NameError),
    /// The name is taken; nothing is overwritten.
    Taken(Name),
    /// There is a catch-all already.
    CatchAllTaken,
}

impl Registry {
    /// Registers a job.
    ///
    /// # Errors
    /// The name is malformed or taken.
    pub fn register(&self, name: &str, handler: Arc<dyn Handler>) -> Result<(), RegisterError> {
        let name: Name = name.parse().map_err(RegisterError::Name)?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.jobs.contains_key(&name) {
            return Err(RegisterError::Taken(name));
        }
        known.jobs.insert(name.clone(), native(name, handler));
        Ok(())
    }

    /// Registers the catch-all job, which answers to every unknown name.
    ///
    /// # Errors
    /// There is one already.
    pub fn register_catch_all(&self, handler: Arc<dyn Handler>) -> Result<(), RegisterError> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.catch_all.is_some() {
            return Err(RegisterError::CatchAllTaken);
        }
        known.catch_all = Some(handler);
        Ok(())
    }

    /// Finds a job by its exact name.
    pub fn find(&self, name: &str) -> Option<Arc<Entry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).jobs.get(name).cloned()
    }

    /// Makes a job of the catch-all for an unknown name. Returns `None` if the text is not a valid
    /// name, or there is no catch-all.
    pub(super) fn catch_all(&self, name: &str) -> Option<Arc<Entry>> {
        let handler = self.0.read().unwrap_or_else(PoisonError::into_inner).catch_all.clone()?;
        name.parse().ok().map(|name| native(name, handler))
    }

    /// Lists the names, sorted.
    pub fn names(&self) -> Vec<Name> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).jobs.keys().cloned().collect()
    }
}

/// Makes the entry of a built-in job, with limits that it never reaches.
fn native(name: Name, handler: Arc<dyn Handler>) -> Arc<Entry> {
    Arc::new(Entry {
        name,
        handler,
        kind: Kind::Native,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        args: Vec::new(),
        env: Env::new(),
        calls: Vec::new(),
        schedule: None,
        limits: Limits::NATIVE,
        mapping: Mapping::Cgi,
        conduct: Conduct::default(),
        slots: Slots::new(&Limits::NATIVE),
        record: Arc::default(),
        recorder: None,
    })
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::Name(error) => error.fmt(f),
            RegisterError::Taken(name) => write!(f, "a job named {name} is registered already"),
            RegisterError::CatchAllTaken => f.write_str("a catch-all job is registered already"),
        }
    }
}

impl std::error::Error for RegisterError {}
