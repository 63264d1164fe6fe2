//! What an operator can observe: log, profiler, process figures, and messages to the service manager.
//!
//! Floors, lowest first: `build`, `cgroup`, `plural`, `filter`, `escape`, `latency`, `profile`, `queue`, `reloads`,
//! `resident`, `series`, `systemd`, `threads`, `writes`; `exposition`, `log`.

pub mod build;
pub mod cgroup;
mod escape;
pub mod exposition;
mod filter;
pub mod latency;
pub mod log;
mod plural;
pub mod profile;
mod queue;
pub mod reloads;
mod resident;
pub mod series;
pub mod systemd;
pub mod threads;
pub mod writes;

pub use escape::{brief, plain};
pub use plural::{CountedNoun, counted};
pub use reloads::Reloads;
pub use resident::{available, machine, resident};
