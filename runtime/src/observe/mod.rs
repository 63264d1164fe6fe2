//! What an operator can observe: log, history, traces, profiler, process figures, and messages to the service manager.
//!
//! Floors, lowest first: `build`, `byte_count`, `cgroup`, `plural`, `filter`, `escape`, `heap`, `history`, `latency`,
//! `profile`, `query_mask`, `queue`, `reloads`, `resident`, `series`, `systemd`, `threads`, `writes`; `access_file`,
//! `exposition`, `log_format`, `stacks`, `traces`; `log`.

pub mod access_file;
pub mod build;
mod byte_count;
pub mod cgroup;
mod escape;
pub mod exposition;
mod filter;
pub mod heap;
pub mod history;
pub mod latency;
pub mod log;
pub mod log_format;
mod plural;
pub mod profile;
mod query_mask;
mod queue;
pub mod reloads;
mod resident;
pub mod series;
pub mod stacks;
pub mod systemd;
pub mod threads;
pub mod traces;
pub mod writes;

pub use byte_count::ByteCount;
pub use escape::{brief, plain};
pub use plural::{CountedNoun, counted};
pub use query_mask::{MaskedUrl, QueryMask};
pub use reloads::Reloads;
pub use resident::{available, machine, resident};
