//! Reports about one handler that several replies contain: its limits, grants, schedule and trial.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// The limits of a job: sizes in bytes, `null` for no limit.
#[derive(Serialize, Deserialize)]
pub struct LimitsReport {
    /// Linear memory and tables.
    pub memory: usize,
    /// Wall time.
    pub time_ms: Option<u64>,
    /// CPU time.
    pub cpu_ms: Option<u64>,
    /// The request body.
    pub body: Option<u64>,
    /// The output on stdout.
    pub output: Option<u64>,
    /// Concurrent jobs.
    pub concurrency: usize,
    /// Concurrent jobs of one address while others wait.
    pub concurrency_per_peer: usize,
    /// Jobs that wait for a slot.
    pub queue: usize,
    /// How long a job may wait.
    pub queue_time_ms: u64,
    /// Bytes of a job's stderr that are logged.
    pub stderr: u64,
    /// Lines of stderr that are logged, per second.
    pub stderr_rate: u32,
    /// Concurrent files, directories, streams and pollables.
    pub handles: usize,
    /// Outbound requests.
    pub outbound: CallLimitsReport,
}

/// The limits of a job's outbound requests.
#[derive(Serialize, Deserialize)]
pub struct CallLimitsReport {
    /// Requests of a job.
    pub calls: usize,
    /// Concurrent requests.
    pub at_once: usize,
    /// The time to connect.
    pub connect_ms: u64,
    /// The time until the head of the response.
    pub first_byte_ms: u64,
    /// The time until the end of the response; `null` for no limit.
    pub time_ms: Option<u64>,
    /// The body of a request and of a response, in bytes.
    pub body: u64,
}

/// The grants of a handler.
#[derive(Serialize, Deserialize)]
pub struct GrantsReport {
    /// Its configured arguments.
    pub args: Vec<String>,
    /// The names of its configured variables, without values: a value may be a secret.
    pub env: Vec<String>,
    /// Its mounts, a line each.
    pub mounts: Vec<String>,
    /// The size of each job's own `/tmp` in bytes; `null` without one.
    pub tmp: Option<u64>,
    /// The handlers that it may call.
    pub calls: Vec<String>,
    /// The stores that it may open, a line each.
    #[serde(default)]
    pub stores: Vec<String>,
    /// The servers that it may call.
    pub allow: Vec<String>,
    /// The non-public addresses that it may reach.
    pub allow_addresses: Vec<String>,
    /// How stdout becomes a response.
    pub output: String,
    /// When a job begins to read its request body.
    pub body: String,
    /// Which captures become arguments.
    pub captures: String,
    /// What happens to a job when its client leaves.
    pub client_leaves: String,
    /// The number of requests per instance; `null` for a fresh instance each.
    pub reuse: Option<NonZeroU32>,
    /// The limits of each job.
    pub limits: LimitsReport,
}

/// The schedule of a handler.
#[derive(Serialize, Deserialize)]
pub struct ScheduleReport {
    /// The cron expression.
    pub cron: String,
    /// The time of the next run, in RFC 3339; `null` if there is none.
    pub next: Option<String>,
    /// Whether a run may begin while the previous one still runs.
    pub overlap: bool,
    /// Runs that have ended.
    pub runs: u64,
    /// Runs that have failed.
    pub failed: u64,
    /// Runs that did not begin.
    pub missed: u64,
}

/// The results of a version on trial.
#[derive(Serialize, Deserialize)]
pub struct TrialReport {
    /// The version.
    pub version: String,
    /// Its share of the requests.
    pub percent: u8,
    /// Requests that it has ended, in this trial and before it.
    pub requests: u64,
    /// Requests that it has answered in this trial.
    pub answered: u64,
    /// Requests that it has to answer for a verdict.
    pub wanted: u64,
    /// Requests that it has failed in this trial.
    pub failures: u64,
    /// The 99th percentile of its times; `null` before there is one.
    pub p99_ms: Option<f64>,
    /// The 99th percentile of the version that serves beside it.
    pub p99_ms_beside: Option<f64>,
}
