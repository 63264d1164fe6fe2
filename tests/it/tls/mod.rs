//! TLS as clients and operators meet it.
//!
//! Floors, lowest first: `site`; `clients`, `files`, `metrics`, `reload`, `serving`, `versions`.

mod clients;
mod files;
mod metrics;
mod reload;
mod serving;
mod site;
mod versions;
