//! TLS from the outside: clients, certificates, errors, reloads and metrics.
//!
//! Floors, lowest first: `site`; `clients`, `files`, `metrics`, `reload`, `serving`, `versions`.

mod clients;
mod files;
mod metrics;
mod reload;
mod serving;
pub(crate) mod site;
mod versions;
