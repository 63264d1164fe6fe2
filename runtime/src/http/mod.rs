//! HTTP: the only place that knows hyper.

mod activity;
mod admin;
mod answer;
mod call;
pub mod client;
mod connection;
mod crowd;
mod deadline;
mod error;
mod exchange;
mod flood;
mod framing;
mod handshake;
mod handshakes;
mod inspected;
mod metrics;
mod multiplexed;
pub mod outbound;
mod probe;
mod proxied;
mod relay;
mod request_body;
mod response_body;
mod server;
mod service;
mod upgrade;
mod watched;

pub use activity::Activity;
pub use crowd::Crowd;
pub use deadline::Deadlines;
pub use error::Details;
pub use handshakes::Handshakes;
pub use probe::probe;
pub use server::{Purpose, Server, Settings};
