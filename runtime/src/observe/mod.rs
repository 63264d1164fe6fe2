//! What an operator can observe: log, history, traces, profiler, process figures, and messages to the service manager.
//!
//! Floors, lowest first: `build_versions`, `byte_count`, `cgroup`, `plural`, `log_filter`, `escape`, `heap`, `profile`,
//! `query_mask`, `queue`, `reloads`, `memory_figures`, `series`, `stripes`, `systemd`, `threads`, `write_failures`;
//! `failure_log`, `history`, `latency`; `access_file`, `exposition`, `log_format`, `stacks`, `traces`; `log`.

pub mod access_file;
pub mod build_versions;
mod byte_count;
pub mod cgroup;
mod escape;
pub mod exposition;
mod failure_log;
pub mod heap;
pub mod history;
pub mod latency;
pub mod log;
mod log_filter;
pub mod log_format;
mod memory_figures;
mod plural;
pub mod profile;
mod query_mask;
mod queue;
pub mod reloads;
pub mod series;
pub mod stacks;
pub mod stripes;
pub mod systemd;
pub mod threads;
pub mod traces;
pub mod write_failures;

pub use byte_count::ByteCount;
pub use escape::{brief, plain};
pub use failure_log::FailureLog;
pub use memory_figures::{available, machine, resident};
pub use plural::{CountedNoun, counted};
pub use query_mask::{MaskedUrl, QueryMask};
pub use reloads::Reloads;
