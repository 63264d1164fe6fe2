//! TLS as clients and operators meet it.

mod clients;
mod files;
mod reload;
mod serving;
mod site;
