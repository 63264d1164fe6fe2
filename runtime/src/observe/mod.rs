//! What an operator sees of the daemon.

pub mod log;
mod plain;
pub mod profile;
pub mod systemd;
pub mod threads;

pub use plain::plain;
