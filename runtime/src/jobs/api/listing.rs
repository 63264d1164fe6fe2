//! `handlers`, `routes`, `jobs` and `commands`: the commands, and the rows of their replies.

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::handler::{LimitsReport, ScheduleReport, TrialReport};
use super::pairs::Pairs;
use crate::job::{Policy, builtin};

/// Lists the handlers.
pub struct HandlersCommand;

impl Command for HandlersCommand {
    const NAME: &'static str = builtin::HANDLERS;
    const POLICY: Policy = Policy::LOOK;
    type Reply = Vec<HandlerReport>;
}

/// Lists the routes, in the order of the configuration.
pub struct RoutesCommand;

impl Command for RoutesCommand {
    const NAME: &'static str = builtin::ROUTES;
    const POLICY: Policy = Policy::LOOK;
    type Reply = Vec<RouteReport>;
}

/// Lists the jobs that run, oldest first.
pub struct JobsCommand;

impl Command for JobsCommand {
    const NAME: &'static str = builtin::JOBS;
    const POLICY: Policy = Policy::LOOK;
    type Reply = Vec<JobReport>;
}

/// Lists the names of the built-in jobs, one a line.
pub struct CommandsCommand;

impl Command for CommandsCommand {
    const NAME: &'static str = builtin::COMMANDS;
    const POLICY: Policy = Policy::LOOK;
    type Reply = ();
}

/// A handler with its counters.
#[derive(Serialize, Deserialize)]
pub struct HandlerReport {
    /// Its name.
    pub name: String,
    /// The kind of its module.
    pub kind: String,
    /// The version that serves.
    pub version: String,
    /// Running jobs.
    pub running: usize,
    /// Jobs that wait for a slot.
    pub waiting: usize,
    /// The most jobs of the version that have run at once.
    #[serde(default)]
    pub most_running: usize,
    /// The most jobs of the version that have waited at once.
    #[serde(default)]
    pub most_waiting: usize,
    /// Requests that have ended.
    pub requests: u64,
    /// Requests that have failed.
    pub failures: u64,
    /// Failed jobs by their codes.
    pub reasons: Pairs<u64>,
    /// Requests that it has answered itself with a status of 5xx.
    #[serde(default)]
    pub answered_errors: u64,
    /// The mean time of a request; `null` before the first one has ended.
    pub mean_ms: Option<f64>,
    /// The CPU time of all its jobs.
    pub cpu_ms: f64,
    /// The memory of its running jobs, in bytes.
    pub memory: usize,
    /// Its requests by duration; those of upgraded connections are left out.
    pub durations: Vec<DurationBucket>,
    /// The limits of each job.
    pub limits: LimitsReport,
    /// The highest use of each limit by one job, in percent.
    pub peaks: Pairs<f64>,
    /// Whether no route leads to it.
    pub private: bool,
    /// The servers that it may call.
    pub allow: Vec<String>,
    /// Its outbound requests by outcome.
    pub asked: Pairs<u64>,
    /// The routes that lead to it.
    pub routes: Vec<String>,
    /// The handlers that it may call.
    pub calls: Vec<String>,
    /// Its schedule; `null` without one.
    pub schedule: Option<ScheduleReport>,
    /// The trial of its new version; `null` without one.
    pub trial: Option<TrialReport>,
}

/// The requests with a duration above the previous bucket and within this one.
#[derive(Serialize, Deserialize)]
pub struct DurationBucket {
    /// The longest duration of the bucket; `null` for no limit.
    pub up_to_ms: Option<f64>,
    /// The number of requests.
    pub count: u64,
}

/// A route.
#[derive(Serialize, Deserialize)]
pub struct RouteReport {
    /// Its methods; empty for all of them.
    pub methods: Vec<String>,
    /// Its host; `null` for every host.
    pub host: Option<String>,
    /// The pattern of its path.
    pub path: String,
    /// The protocol that it upgrades to; `null` for none.
    pub upgrade: Option<String>,
    /// What answers: the name of a handler, or `redirect`, `respond`, `static` or `rewrite` with its settings.
    pub target: String,
    /// The handler that it leads to; `null` if the daemon answers.
    pub handler: Option<String>,
    /// The version of the handler that serves; `null` without a handler.
    pub version: Option<String>,
}

/// A running job.
#[derive(Serialize, Deserialize)]
pub struct JobReport {
    /// Its id, as the log shows it.
    pub id: String,
    /// The id of the job that called it; `null` if there is none.
    pub parent: Option<String>,
    /// Its handler.
    pub handler: String,
    /// The kind of its handler.
    pub kind: String,
    /// The version of its handler.
    pub version: String,
    /// How long it has been running.
    pub age_ms: u64,
    /// Its CPU time.
    pub cpu_ms: u64,
    /// Its memory, in bytes.
    pub memory: usize,
    /// Bytes that it has written to stdout.
    pub written: u64,
}
