//! TLS as clients and operators meet it.

mod clients;
mod files;
mod metrics;
mod reload;
mod serving;
mod site;
mod versions;
