//! The catalog: the handlers and routes of one generation, immutable once made.
//!
//! Floors, lowest first: `generation_count`, `cors`, `host`, `pattern`, `trial`, `upgrade`; `route`, `trial_version`;
//! `routes`;
//! `generation`; `replaced`; `serving`.

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
mod trial_version;
mod upgrade;

pub use cors::Cors;
pub use generation::{Catalog, ReasonHeader, VersionHeader};
pub use generation_count::Alive;
pub use pattern::PathCapture;
pub use routes::{Claim, Lookup, Match, Route, RouteError, RouteSpec, Routes, VersionPrefix, conflicts};
pub use serving::{Live, Stale};
pub use trial::{Ballot, Judgement, Rules, Showing, Trial};
pub use trial_version::{Percent, TrialVersion};
pub use upgrade::{Messages, Origins, Upgrade, WebSocket};
