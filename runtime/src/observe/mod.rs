//! What an operator can observe: log, profiler, process figures, and messages to the service manager.
//!
//! Floors, lowest first: `build`, `cgroup`, `counted`, `filter`, `plain`, `profile`, `queue`, `reloads`, `resident`,
//! `systemd`, `threads`, `writes`; `log`.

pub mod build;
pub mod cgroup;
mod counted;
mod filter;
pub mod log;
mod plain;
pub mod profile;
mod queue;
pub mod reloads;
mod resident;
pub mod systemd;
pub mod threads;
pub mod writes;

pub use counted::{CountedNoun, counted};
pub use plain::{brief, plain};
pub use reloads::Reloads;
pub use resident::{available, machine, resident};
