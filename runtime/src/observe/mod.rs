//! What an operator sees of the daemon.

pub mod log;
pub mod systemd;
