//! One generation of handlers and routes, which never changes once it is made.

use super::alive::Alive;
use super::canary::{Canary, Percent};
use super::cors::Cors;
use super::routes::Routes;
use super::trial::{Ballot, Rules, Trial};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::job::{Entry, Name};

/// One generation of handlers and routes. A request pins one and sees nothing of the next.
#[derive(Default)]
pub struct Catalog {
    /// Counts what was published; 0 is the empty catalog before the first reload.
    pub generation: u64,
    /// Every handler under its name.
    pub handlers: BTreeMap<Name, Arc<Entry>>,
    /// Which handler answers which request.
    pub routes: Routes,
    /// What browsers of other origins may do; none: nothing.
    pub cors: Option<Cors>,
    /// Versions on trial, by the name of their handler.
    pub canaries: BTreeMap<Name, Canary>,
    /// Whether responses say which version made them.
    pub version_header: VersionHeader,
    /// Whether responses say why a request failed.
    pub reason_header: ReasonHeader,
    /// Counts the generations that are still held.
    pub alive: Alive,
}

/// Whether responses carry `X-Portcullis-Version: NAME@VERSION`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum VersionHeader {
    /// They do not: a version is nobody's business.
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
    /// Those that the daemon makes, because a request failed, do.
    Present,
}

impl Catalog {
    /// Makes the catalog of these handlers and routes that may follow this one.
    pub fn next(&self, handlers: BTreeMap<Name, Arc<Entry>>, routes: Routes) -> Catalog {
        Catalog { generation: self.generation + 1, handlers, routes, ..Catalog::default() }
    }

    /// Makes the catalog that differs from this one in one version: `entry` answers for its name
    /// from now on. A trial under that name is over.
    pub fn with(&self, entry: &Arc<Entry>) -> Catalog {
        let mut next = self.same();
        next.handlers.insert(entry.name.clone(), entry.clone());
        next.routes = self.routes.with(entry);
        next.canaries.remove(&entry.name);
        next
    }

    /// Makes the catalog in which each of these serves under its name, as the same version; trials go on.
    pub fn with_same_versions(&self, entries: &[Arc<Entry>]) -> Catalog {
        let mut next = self.same();
        for entry in entries {
            next.handlers.insert(entry.name.clone(), entry.clone());
            next.routes = next.routes.with(entry);
        }
        next
    }

    /// Makes the catalog in which `entry` is on trial under its name, from now on.
    pub fn with_canary(&self, entry: Arc<Entry>, percent: Percent, rules: Rules) -> Catalog {
        let mut next = self.same();
        next.canaries.insert(entry.name.clone(), Canary::new(entry, percent, rules));
        next
    }

    /// Makes the catalog in which nothing is on trial under this name.
    pub fn without_canary(&self, name: &Name) -> Catalog {
        let mut next = self.same();
        next.canaries.remove(name);
        next
    }

    /// Goes through the versions that serve, those on trial behind the others.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.handlers.values().chain(self.canaries.values().map(|canary| &canary.entry))
    }

    /// Chooses the version that answers the next request for a handler. During a trial, what comes with it is to be
    /// told how the request ends.
    pub fn pick<'a>(&'a self, handler: &'a Arc<Entry>) -> (&'a Arc<Entry>, Option<Ballot>) {
        if self.canaries.is_empty() {
            return (handler, None);
        }
        match self.canaries.get(&handler.name).map(Canary::next) {
            Some((entry, ballot)) => (entry.unwrap_or(handler), ballot),
            None => (handler, None),
        }
    }

    /// Reports whether a trial is on.
    pub fn has_on(&self, name: &Name, trial: &Arc<Trial>) -> bool {
        self.canaries.get(name).is_some_and(|canary| Arc::ptr_eq(&canary.trial, trial))
    }

    /// Makes the same catalog, one generation on.
    fn same(&self) -> Catalog {
        Catalog {
            generation: self.generation + 1,
            handlers: self.handlers.clone(),
            routes: self.routes.clone(),
            cors: self.cors.clone(),
            canaries: self.canaries.clone(),
            version_header: self.version_header,
            reason_header: self.reason_header,
            alive: Alive::default(),
        }
    }
}
