//! The catalog: the handlers and routes of one generation, which never change once it is made.

mod cors;
mod host;
mod live;
mod pattern;
mod route;
mod routes;

pub use cors::Cors;
pub use live::{Live, Stale};
pub use pattern::Capture;
pub use routes::{Claim, Lookup, Match, Route, RouteError, RouteSpec, Routes, VersionPrefix, conflicts};

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
}

impl Catalog {
    /// Makes the catalog that may follow this one.
    pub fn next(&self, handlers: BTreeMap<Name, Arc<Entry>>, routes: Routes, cors: Option<Cors>) -> Catalog {
        Catalog { generation: self.generation + 1, handlers, routes, cors }
    }
}
