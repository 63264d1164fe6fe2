//! The catalog: the handlers and routes of one generation, immutable once made.
//!
//! Floors, lowest first: `api_version`, `generation_count`, `coding`, `cors`, `entry_checks`, `wildcard`, `host`,
//! `pattern`, `prefix_map`, `trial`, `upgrade`; `response_rules`, `static_files`, `template`; `group`, `path_tree`,
//! `target`, `trial_version`; `routes`; `generation`; `replaced`; `serving`.

mod api_version;
mod coding;
mod cors;
mod entry_checks;
mod generation;
mod generation_count;
mod group;
mod host;
mod path_tree;
mod pattern;
mod prefix_map;
mod replaced;
mod response_rules;
mod routes;
mod serving;
mod static_files;
mod target;
mod template;
mod trial;
mod trial_version;
mod upgrade;
mod wildcard;

pub use api_version::VersionRange;
pub use coding::Coding;
pub use cors::Cors;
pub use entry_checks::{EntryChecks, RouteGate, RouteLimit};
pub use generation::{Catalog, ReasonHeader, VersionHeader};
pub use generation_count::Alive;
pub use group::RouteGroup;
pub use host::asked as asked_host;
pub use pattern::{PathCapture, captures};
pub use response_rules::{ErrorPage, ErrorPages, FieldChanges, ResponseRules};
pub use routes::{Claim, Lookup, Match, Route, RouteError, RouteSpec, Routes, conflicts};
pub use serving::{Live, Stale};
pub use static_files::{StaticFiles, StaticOptions};
pub use target::{FixedResponse, Redirect, RouteTarget};
pub use template::{NoHost, RequestParts, Template};
pub use trial::{Ballot, Judgement, Rules, Trial, TrialResults};
pub use trial_version::{Percent, TrialVersion};
pub use upgrade::{Messages, Origins, Upgrade, WebSocket};
pub use wildcard::Wildcard;
