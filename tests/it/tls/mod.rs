//! TLS from the outside: clients, certificates, errors, reloads and metrics.
//!
//! Floors, lowest first: `pebble`, `site`; `acme`, `clients`, `files`, `metrics`, `reload`, `serving`, `versions`.

mod acme;
mod clients;
mod files;
mod metrics;
mod pebble;
mod reload;
mod serving;
pub(crate) mod site;
mod versions;
