//! The catalog: the handlers and routes of one generation, immutable once made.
//!
//! Floors, lowest first: `alive`, `cors`, `host`, `pattern`, `trial`, `upgrade`; `canary`, `route`; `routes`;
//! `generation`; `replaced`; `live`.

mod alive;
mod canary;
mod cors;
mod generation;
mod host;
mod live;
mod pattern;
mod replaced;
mod route;
mod routes;
mod trial;
mod upgrade;

pub use alive::Alive;
pub use canary::{Canary, Percent};
pub use cors::Cors;
pub use generation::{Catalog, ReasonHeader, VersionHeader};
pub use live::{Live, Stale};
pub use pattern::PathCapture;
pub use routes::{Claim, Lookup, Match, Route, RouteError, RouteSpec, Routes, VersionPrefix, conflicts};
pub use trial::{Ballot, Judgement, Rules, Showing, Trial};
pub use upgrade::{Messages, Origins, Upgrade, WebSocket};
