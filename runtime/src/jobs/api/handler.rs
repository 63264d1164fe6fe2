//! What replies say of one handler: its limits, its grants, its schedule and its trial.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// What a job may use: sizes in bytes, `null` for no limit.
#[derive(Serialize, Deserialize)]
pub struct LimitsReport {
    /// Linear memory and tables.
    pub memory: usize,
    /// Wall time.
    pub time_ms: Option<u64>,
    /// Time on a processor.
    pub cpu_ms: Option<u64>,
    /// The request body.
    pub body: Option<u64>,
    /// What is written to stdout.
    pub output: Option<u64>,
    /// Jobs at once.
    pub concurrency: usize,
    /// Jobs that wait for a slot.
    pub queue: usize,
    /// How long they wait.
    pub queue_time_ms: u64,
    /// Logged bytes of stderr of a job.
    pub stderr: u64,
    /// Logged lines of stderr a second.
    pub stderr_rate: u32,
    /// Files, directories, streams and pollables at once.
    pub handles: usize,
    /// Calls to other servers.
    pub outbound: CallLimitsReport,
}

/// What a job may spend on calls to other servers.
#[derive(Serialize, Deserialize)]
pub struct CallLimitsReport {
    /// Calls of a job.
    pub calls: usize,
    /// Calls at once.
    pub at_once: usize,
    /// The time for a connection.
    pub connect_ms: u64,
    /// The time to the head of the response.
    pub first_byte_ms: u64,
    /// The time to the end of the response; `null` for no limit.
    pub time_ms: Option<u64>,
    /// The body of a request and of a response, in bytes.
    pub body: u64,
}

/// What a handler is granted.
#[derive(Serialize, Deserialize)]
pub struct GrantsReport {
    /// Its configured arguments.
    pub args: Vec<String>,
    /// The names of its configured variables: a value may be a secret.
    pub env: Vec<String>,
    /// Its mounts, a line each.
    pub mounts: Vec<String>,
    /// The bytes of a directory of each job's own; `null` without one.
    pub tmp: Option<u64>,
    /// The handlers that it may call.
    pub calls: Vec<String>,
    /// The servers that it may ask.
    pub allow: Vec<String>,
    /// The addresses that it may reach though they are not public.
    pub allow_addresses: Vec<String>,
    /// How stdout becomes a response.
    pub output: String,
    /// When a job begins to read its request body.
    pub body: String,
    /// Which captures become arguments.
    pub captures: String,
    /// What becomes of a job whose client leaves.
    pub client_leaves: String,
    /// The requests that one instance answers; `null` for a fresh instance each.
    pub reuse: Option<NonZeroU32>,
    /// What each job may use.
    pub limits: LimitsReport,
}

/// When a handler runs by itself.
#[derive(Serialize, Deserialize)]
pub struct ScheduleReport {
    /// The cron expression.
    pub cron: String,
    /// The time of the next run, as RFC 3339 has it; `null` if there is none.
    pub next: Option<String>,
    /// Whether a run may begin while the one before it goes on.
    pub overlap: bool,
    /// Runs that have ended.
    pub runs: u64,
    /// Runs that have failed.
    pub failed: u64,
    /// Runs that did not begin.
    pub missed: u64,
}

/// A version on trial, and how it does.
#[derive(Serialize, Deserialize)]
pub struct TrialReport {
    /// The version.
    pub version: String,
    /// Its share of the requests.
    pub percent: u8,
    /// Requests that it has ended, of this trial and before it.
    pub requests: u64,
    /// Requests that it has answered in this trial.
    pub answered: u64,
    /// Requests that it has to answer.
    pub wanted: u64,
    /// Requests that it has failed.
    pub failures: u64,
    /// The 99th percentile of its times; `null` before there is one.
    pub p99_ms: Option<f64>,
    /// The 99th percentile of the version that serves beside it.
    pub p99_ms_beside: Option<f64>,
}
