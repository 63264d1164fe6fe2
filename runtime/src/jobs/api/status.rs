//! `status` and `version`: how the daemon is, and what it is.

use serde::{Deserialize, Serialize};

use super::command::Command;
use crate::job::builtin;

/// Asks how the daemon is.
pub struct StatusCommand;

impl Command for StatusCommand {
    const NAME: &'static str = builtin::STATUS;
    type Reply = StatusReply;
}

/// How the daemon is. Times are as RFC 3339 has them.
#[derive(Serialize, Deserialize)]
pub struct StatusReply {
    /// Its version.
    pub version: String,
    /// The commit that it was built from; `null` outside a repository.
    pub commit: Option<String>,
    /// The number of its process.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// The gate: `shut`, `open` or `draining`.
    pub gate: String,
    /// The generation that serves.
    pub generation: u64,
    /// When the last reload succeeded; `null` before the first one.
    pub reloaded: Option<String>,
    /// When and why the last reload was refused; `null` if it was not.
    pub reload_refused: Option<String>,
    /// When and why changed secrets were not taken up; `null` if they were.
    pub secrets_refused: Option<String>,
    /// Generations that still have a job, the one that serves among them.
    pub generations_alive: usize,
    /// Handlers of the generation that serves.
    pub handlers: usize,
    /// Routes of the generation that serves.
    pub routes: usize,
    /// Handlers with a schedule.
    pub schedules: usize,
    /// Scheduled runs that did not begin.
    pub missed_runs: u64,
    /// The addresses of clients, as they are bound.
    pub listening: Vec<String>,
    /// The certificates, with the days that they have left.
    pub certificates: Vec<String>,
    /// The address of the admin socket; `null` without one.
    pub admin: Option<String>,
    /// The addresses that only show how the daemon is.
    pub observe: Vec<String>,
    /// Jobs that run.
    pub jobs: usize,
    /// The resident memory of the process, in bytes; `null` if the system does not say.
    pub memory: Option<u64>,
    /// The memory of jobs, and how much they share.
    pub jobs_memory: String,
    /// The file descriptors of jobs, and how many they share.
    pub jobs_descriptors: String,
    /// How jobs get their memory.
    pub sandbox: String,
    /// The cache of compiled modules.
    pub compile_cache: String,
    /// The module that is compiled now; left out if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loading: Option<String>,
}

/// Asks what the daemon is.
pub struct VersionCommand;

impl Command for VersionCommand {
    const NAME: &'static str = builtin::VERSION;
    type Reply = VersionReply;
}

/// What the daemon is.
#[derive(Serialize, Deserialize)]
pub struct VersionReply {
    /// Its version.
    pub version: String,
    /// The commit that it was built from; `null` outside a repository.
    pub commit: Option<String>,
    /// The version of wasmtime in it.
    pub wasmtime: String,
    /// The operating system that it was built for.
    pub os: String,
    /// The architecture that it was built for.
    pub arch: String,
}
