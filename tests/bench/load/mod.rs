//! The load: a client of one thread that costs as little as it can, beside the server that it measures.

mod client;
mod connection;
mod exchange;
mod http1;
mod http2;
mod response;
mod transport;
// The tests use more of it.
#[allow(dead_code)]
#[path = "../../it/harness/wire.rs"]
mod wire;

pub(crate) use client::{Client, idle};
pub(crate) use exchange::{Exchange, Way};
