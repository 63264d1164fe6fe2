//! Requests of handlers to other servers: checked, bounded, and over connections that handlers do not share.
//!
//! Floors, lowest first: `bounds`, `call_outcome`, `cdn_loop`, `cpu_charge`, `denials`, `error`, `strict`; `pool`;
//! `body`, `fetch`; `exchange`; `caller`. Beside them, `https_client` serves the daemon itself.

mod body;
mod bounds;
mod call_outcome;
mod caller;
pub(super) mod cdn_loop;
mod cpu_charge;
mod denials;
mod error;
mod exchange;
mod fetch;
mod https_client;
mod pool;
mod strict;

pub use caller::{Grant, OutboundCaller};
pub use fetch::{FetchLimits, fetch};
pub use https_client::{ExchangeError, HttpsClient};

#[cfg(test)]
mod tests;
