//! Requests of handlers to other servers: checked, bounded, and over connections that handlers do not share.
//!
//! Floors, lowest first: `bounds`, `call_outcome`, `cdn_loop`, `cpu_charge`, `denials`, `error`, `strict_head`; `pool`;
//! `body`, `daemon_client`; `exchange`; `caller`. The requests of the daemon itself are those of `daemon_client`.

mod body;
mod bounds;
mod call_outcome;
mod caller;
pub(super) mod cdn_loop;
mod cpu_charge;
mod daemon_client;
mod denials;
mod error;
mod exchange;
mod pool;
mod strict_head;

pub use caller::{Grant, OutboundCaller};
pub(in crate::http) use daemon_client::addressed;
pub use daemon_client::{DaemonClient, ExchangeLimits};

#[cfg(test)]
mod tests;
