//! The catalog: the handlers and routes of one generation, immutable once made.
//!
//! Floors, lowest first: `generation_count`, `cors`, `host`, `pattern`, `trial`, `upgrade`; `canary`, `route`;
//! `routes`;
//! `generation`; `replaced`; `serving`.

mod canary;
mod cors;
mod generation;
mod generation_count;
mod host;
mod pattern;
mod replaced;
mod route;
mod routes;
mod serving;
mod trial;
mod upgrade;

pub use canary::{Canary, Percent};
pub use cors::Cors;
pub use generation::{Catalog, ReasonHeader, VersionHeader};
pub use generation_count::Alive;
pub use pattern::PathCapture;
pub use routes::{Claim, Lookup, Match, Route, RouteError, RouteSpec, Routes, VersionPrefix, conflicts};
pub use serving::{Live, Stale};
pub use trial::{Ballot, Judgement, Rules, Showing, Trial};
pub use upgrade::{Messages, Origins, Upgrade, WebSocket};
