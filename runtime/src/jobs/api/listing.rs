//! `handlers`, `routes`, `jobs` and `commands`: what is there, and what runs.

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::handler::{LimitsReport, ScheduleReport, TrialReport};
use super::pairs::Pairs;
use crate::job::builtin;

/// Lists the handlers.
pub struct HandlersCommand;

impl Command for HandlersCommand {
    const NAME: &'static str = builtin::HANDLERS;
    type Reply = Vec<HandlerReport>;
}

/// Lists the routes, in the order of the configuration.
pub struct RoutesCommand;

impl Command for RoutesCommand {
    const NAME: &'static str = builtin::ROUTES;
    type Reply = Vec<RouteReport>;
}

/// Lists the jobs that run, oldest first.
pub struct JobsCommand;

impl Command for JobsCommand {
    const NAME: &'static str = builtin::JOBS;
    type Reply = Vec<JobReport>;
}

/// Lists the names of the built-in jobs, one a line.
pub struct CommandsCommand;

impl Command for CommandsCommand {
    const NAME: &'static str = builtin::COMMANDS;
    type Reply = ();
}

/// A handler, and how it fares.
#[derive(Serialize, Deserialize)]
pub struct HandlerReport {
    /// Its name.
    pub name: String,
    /// What its module is.
    pub kind: String,
    /// Which version serves.
    pub version: String,
    /// Jobs that run.
    pub running: usize,
    /// Jobs that wait for a slot.
    pub waiting: usize,
    /// Requests that have ended.
    pub requests: u64,
    /// Requests that have failed.
    pub failures: u64,
    /// Failures by their codes.
    pub reasons: Pairs<u64>,
    /// The mean time of a request; `null` before the first one has ended.
    pub mean_ms: Option<f64>,
    /// What each job may use.
    pub limits: LimitsReport,
    /// How near one job has come to each limit, in percent.
    pub peaks: Pairs<f64>,
    /// Whether no route leads to it.
    pub private: bool,
    /// The servers that it may ask.
    pub allow: Vec<String>,
    /// Its calls to other servers, by their outcomes.
    pub asked: Pairs<u64>,
    /// The routes that lead to it.
    pub routes: Vec<String>,
    /// The handlers that it may call.
    pub calls: Vec<String>,
    /// When it runs by itself; `null` if it does not.
    pub schedule: Option<ScheduleReport>,
    /// Its version on trial; `null` without one.
    pub trial: Option<TrialReport>,
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
    /// The handler that it leads to.
    pub handler: String,
    /// Which version of the handler serves.
    pub version: String,
}

/// A job that runs.
#[derive(Serialize, Deserialize)]
pub struct JobReport {
    /// Its number, as the log has it.
    pub id: String,
    /// The number of the job that called it; `null` if none did.
    pub parent: Option<String>,
    /// What runs it.
    pub handler: String,
    /// What its handler is.
    pub kind: String,
    /// Which version of its handler.
    pub version: String,
    /// How long it has been running.
    pub age_ms: u64,
    /// Its time on a processor.
    pub cpu_ms: u64,
    /// Its memory, in bytes.
    pub memory: usize,
    /// What it has written to stdout, in bytes.
    pub written: u64,
}
