//! What an operator sees of the daemon.

pub mod log;
mod plain;
pub mod systemd;

pub use plain::plain;
