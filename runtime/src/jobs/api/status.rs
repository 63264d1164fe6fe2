//! `status` and `version`: the commands, and the replies about the daemon and its build.

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::store::StoreReport;
use crate::job::{Policy, builtin};

/// Asks for the state of the daemon.
pub struct StatusCommand;

impl Command for StatusCommand {
    const NAME: &'static str = builtin::STATUS;
    const POLICY: Policy = Policy::LOOK;
    type Reply = StatusReply;
}

/// The state of the daemon. Times are in RFC 3339.
#[derive(Serialize, Deserialize)]
pub struct StatusReply {
    /// Its version.
    pub version: String,
    /// The commit that it was built from; `null` outside a repository.
    pub commit: Option<String>,
    /// Its process.
    #[serde(flatten)]
    pub process: ServingProcess,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// The gate: `shut`, `open` or `draining`.
    pub gate: String,
    /// The generation that serves.
    pub generation: u64,
    /// When that generation was published: by a reload, a swap, or the end of a trial; `null` before the first one.
    #[serde(default)]
    pub published: Option<String>,
    /// When the last reload succeeded; `null` before the first one.
    pub reloaded: Option<String>,
    /// When and why the last reload was refused; `null` if it was not.
    pub reload_refused: Option<String>,
    /// When and why changed secrets were refused; `null` if they were not.
    pub secrets_refused: Option<String>,
    /// Generations in memory, the live one included.
    pub generations_alive: usize,
    /// Handlers of the live generation.
    pub handlers: usize,
    /// Routes of the live generation.
    pub routes: usize,
    /// Handlers with a schedule.
    pub schedules: usize,
    /// Scheduled runs that did not begin.
    pub missed_runs: u64,
    /// The bound addresses for clients.
    pub listening: Vec<String>,
    /// The certificates, with the days until they expire.
    pub certificates: Vec<String>,
    /// The hosts whose certificates the daemon obtains itself.
    #[serde(default)]
    pub acme: Vec<AcmeReport>,
    /// The address of the admin socket; `null` without one.
    pub admin: Option<String>,
    /// The addresses of `observe`.
    pub observe: Vec<String>,
    /// The stores of the configuration.
    #[serde(default)]
    pub stores: Vec<StoreReport>,
    /// Running jobs.
    pub jobs: usize,
    /// The resident memory of the process, in bytes; `null` if the system does not say.
    pub memory: Option<u64>,
    /// The memory of running jobs, and the limit of all jobs.
    pub jobs_memory: String,
    /// The file descriptors of running jobs and of static files, and the limit of them all.
    pub jobs_descriptors: String,
    /// How instances get their memory.
    pub sandbox: String,
    /// The databases of handlers, with their connections in use.
    #[serde(default)]
    pub databases: Vec<String>,
    /// The sets of keys that gates fetch from a URL.
    #[serde(default)]
    pub key_sets: Vec<String>,
    /// The cache of compiled modules.
    pub compile_cache: String,
    /// The ended jobs in memory, and their limit; `none` if none are kept.
    pub history: String,
    /// Where traces go, which are sampled, and how many spans were sent; left out if traces are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces: Option<String>,
    /// The module that is being compiled; left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loading: Option<String>,
}

/// The process of a daemon, as the status of every release has it.
#[derive(Serialize, Deserialize)]
pub struct ServingProcess {
    /// Its id.
    pub pid: u32,
}

/// A host whose certificate the daemon obtains itself. Times are in RFC 3339.
#[derive(Serialize, Deserialize)]
pub struct AcmeReport {
    /// The host.
    pub domain: String,
    /// The days until its certificate expires; negative after that, and `null` while there is none.
    pub days_left: Option<i64>,
    /// When a certificate is asked for next; `null` if it is now.
    pub next: Option<String>,
    /// When and why the last attempt failed; `null` if it did not.
    pub error: Option<String>,
}

/// Asks for the version of the daemon.
pub struct VersionCommand;

impl Command for VersionCommand {
    const NAME: &'static str = builtin::VERSION;
    const POLICY: Policy = Policy::LOOK;
    type Reply = VersionReply;
}

/// The version and build of the daemon.
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
