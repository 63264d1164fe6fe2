//! HTTP: the only place that knows hyper.

mod answer;
mod connection;
mod deadline;
mod error;
mod exchange;
mod request_body;
mod response_body;
mod server;
mod service;

pub use deadline::Deadlines;
pub use server::{Server, Settings};
