//! A generation of handlers and routes, immutable once made.

use super::cors::Cors;
use super::generation_count::Alive;
use super::response_rules::{ErrorPages, ResponseRules};
use super::routes::Routes;
use super::trial::{Ballot, Rules, Trial};
use super::trial_version::{Percent, TrialVersion};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::job::{HandlerVersion, Name};

/// One generation of handlers and routes. A request pins one generation and never sees the next.
#[derive(Default)]
pub struct Catalog {
    /// Counts published generations; 0 is the empty catalog before the first reload.
    pub generation: u64,
    /// All handlers by name.
    pub handlers: BTreeMap<Name, Arc<HandlerVersion>>,
    /// The routes of requests to handlers.
    pub routes: Routes,
    /// The CORS grants, or `None` if other origins have no access.
    pub cors: Option<Cors>,
    /// Versions on trial, by the name of their handler.
    pub trials: BTreeMap<Name, TrialVersion>,
    /// The form of error responses to requests without a route.
    pub errors: ErrorPages,
    /// Whether responses name the version that made them.
    pub version_header: VersionHeader,
    /// Whether responses give the reason of a failure.
    pub reason_header: ReasonHeader,
    /// Counts the generations still in memory.
    pub alive: Alive,
}

/// Whether responses carry `X-Portcullis-Version: NAME@VERSION`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum VersionHeader {
    /// They do not: versions are internal.
    #[default]
    Absent,
    /// They do.
    Present,
}

/// Whether responses carry `X-Portcullis-Reason: CODE`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ReasonHeader {
    /// They do not.
    #[default]
    Absent,
    /// Error responses made by the daemon do.
    Present,
}

impl Catalog {
    /// Returns the error pages of a route with these rules, or those of requests without a route.
    pub fn error_pages<'c>(&'c self, rules: Option<&'c ResponseRules>) -> &'c ErrorPages {
        rules.map_or(&self.errors, |rules| &rules.errors)
    }

    /// Makes the next generation with these handlers and routes.
    pub fn next(&self, handlers: BTreeMap<Name, Arc<HandlerVersion>>, routes: Routes) -> Catalog {
        Catalog { generation: self.generation + 1, handlers, routes, ..Catalog::default() }
    }

    /// Makes the next generation with one version changed: `entry` serves under its name from now on. A trial under
    /// that name ends.
    pub fn with(&self, entry: &Arc<HandlerVersion>) -> Catalog {
        let mut next = self.same();
        next.handlers.insert(entry.name.clone(), entry.clone());
        next.routes = self.routes.with(std::slice::from_ref(entry));
        next.trials.remove(&entry.name);
        next
    }

    /// Makes the next generation with these entries in place of those of the same name and version. Trials continue.
    pub fn with_same_versions(&self, entries: &[Arc<HandlerVersion>]) -> Catalog {
        let mut next = self.same();
        next.handlers.extend(entries.iter().map(|entry| (entry.name.clone(), entry.clone())));
        next.routes = self.routes.with(entries);
        next
    }

    /// Makes the next generation with `entry` on trial under its name.
    pub fn with_trial(&self, entry: Arc<HandlerVersion>, percent: Percent, rules: Rules) -> Catalog {
        let mut next = self.same();
        next.trials.insert(entry.name.clone(), TrialVersion::new(entry, percent, rules));
        next
    }

    /// Makes the next generation without a trial under this name.
    pub fn without_trial(&self, name: &Name) -> Catalog {
        let mut next = self.same();
        next.trials.remove(name);
        next
    }

    /// Iterates over the versions that serve, followed by those on trial.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<HandlerVersion>> {
        self.handlers.values().chain(self.trials.values().map(|tried| &tried.entry))
    }

    /// Chooses the version for the next request to a handler. During a trial it also returns the ballot that records
    /// how the request ends.
    pub fn pick<'a>(&'a self, handler: &'a Arc<HandlerVersion>) -> (&'a Arc<HandlerVersion>, Option<Ballot>) {
        if self.trials.is_empty() {
            return (handler, None);
        }
        match self.trials.get(&handler.name).map(TrialVersion::next) {
            Some((entry, ballot)) => (entry.unwrap_or(handler), ballot),
            None => (handler, None),
        }
    }

    /// Reports whether this trial still runs under this name.
    pub fn has_on(&self, name: &Name, trial: &Arc<Trial>) -> bool {
        self.trials.get(name).is_some_and(|tried| Arc::ptr_eq(&tried.trial, trial))
    }

    /// Copies this catalog as the next generation.
    fn same(&self) -> Catalog {
        Catalog {
            generation: self.generation + 1,
            handlers: self.handlers.clone(),
            routes: self.routes.clone(),
            cors: self.cors.clone(),
            trials: self.trials.clone(),
            errors: self.errors.clone(),
            version_header: self.version_header,
            reason_header: self.reason_header,
            alive: Alive::default(),
        }
    }
}
