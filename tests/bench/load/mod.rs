//! The load: a single-threaded client that costs as little as possible beside the server it measures.
//!
//! Floors, lowest first: `exchange`, `response`, `wire`; `http1`, `http2`, `transport`; `connection`; `client`.

mod client;
mod connection;
mod exchange;
mod http1;
mod http2;
mod response;
mod transport;
// The tests use more of this module.
#[allow(dead_code)]
#[path = "../../it/harness/wire.rs"]
pub(crate) mod wire;

pub(crate) use client::{Client, idle};
pub(crate) use exchange::{Exchange, Way};
