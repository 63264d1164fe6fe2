//! Verbs that run one job of the daemon and print its reply: `status`, `handlers`, `jobs`, `kill` and others.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::socket::{Reply, Socket, end};
use super::table::{self, list, or_dash, size, text, text_or_dash, time};
use super::{explain, say};
use crate::jobs::api::{
    AcmeReport, CommandsCommand, ExplainCommand, HandlerReport, HandlersCommand, JobReport, JobsCommand,
    KillCommand, KillReply, Pairs, RouteReport, RoutesCommand, ScheduleReport, ServingProcess,
    ShutdownCommand, StatusCommand, StatusReply, StoreReport, TrialReport, UpgradeCommand, UpgradeReply,
};

/// The arguments of verbs that only take the common flags.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: Socket,
}

/// The arguments of `kill`.
#[derive(clap::Args)]
pub(super) struct KillArgs {
    /// The id of the job, as `jobs` and the log show it.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    socket: Socket,
}

/// The arguments of `explain`.
#[derive(clap::Args)]
pub(super) struct ExplainArgs {
    /// The method of the request, in capitals.
    #[arg(value_name = "METHOD")]
    method: String,
    /// A path such as /hello/ada, or http://HOST/hello/ada where routes have hosts.
    #[arg(value_name = "URL")]
    url: String,
    #[command(flatten)]
    socket: Socket,
}

/// Replace the daemon by the program that is on disk now, without losing a request.
///
/// The new process starts with the configuration and the module files. If that would undo swapped
/// versions or trials, nothing happens, and the message names them.
#[derive(clap::Args)]
pub(super) struct UpgradeArgs {
    /// Upgrade even if that undoes swaps and ends trials.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn status(Args { socket }: Args) -> Result<ExitCode> {
    socket.show(&StatusCommand, "", |status| {
        for (label, shown) in rows(status) {
            say(&format!("{label:18}{shown}"));
        }
    })
}

/// Returns each field of a status with its label.
fn rows(status: StatusReply) -> Vec<(&'static str, String)> {
    let StatusReply {
        version,
        commit,
        process: ServingProcess { pid },
        uptime_ms,
        gate,
        generation,
        published,
        reloaded,
        reload_refused,
        secrets_refused,
        generations_alive,
        handlers,
        routes,
        schedules,
        missed_runs,
        listening,
        certificates,
        acme,
        admin,
        observe,
        stores,
        jobs,
        memory,
        jobs_memory,
        jobs_descriptors,
        sandbox,
        databases,
        key_sets,
        compile_cache,
        history,
        traces,
        loading,
    } = status;
    // The reply has one line for each mistake; here they share a line.
    let reload_refused = reload_refused.map(|lines| lines.replace('\n', "; "));
    let mut rows = vec![
        ("version", text(&version)),
        ("commit", text_or_dash(commit.as_ref())),
        ("pid", pid.to_string()),
        ("uptime", time(uptime_ms)),
        ("gate", text(&gate)),
        ("generation", generation.to_string()),
        ("published", text_or_dash(published.as_ref())),
        ("reloaded", text_or_dash(reloaded.as_ref())),
        ("reload refused", text_or_dash(reload_refused.as_ref())),
        ("secrets refused", text_or_dash(secrets_refused.as_ref())),
        ("generations alive", generations_alive.to_string()),
        ("handlers", handlers.to_string()),
        ("routes", routes.to_string()),
        ("schedules", schedules.to_string()),
        ("missed runs", missed_runs.to_string()),
        ("listening", list(&listening)),
        ("certificates", list(&certificates)),
        ("admin", text_or_dash(admin.as_ref())),
        ("observe", list(&observe)),
        ("jobs", jobs.to_string()),
        ("memory", or_dash(memory, size)),
        ("jobs memory", text(&jobs_memory)),
        ("jobs descriptors", text(&jobs_descriptors)),
        ("sandbox", text(&sandbox)),
        ("compile cache", text(&compile_cache)),
        ("history", text(&history)),
    ];
    rows.extend(traces.map(|traces| ("traces", text(&traces))));
    rows.extend(acme.iter().map(|report| ("acme", obtained(report))));
    rows.extend(databases.iter().map(|database| ("database", text(database))));
    rows.extend(key_sets.iter().map(|set| ("keys", text(set))));
    rows.extend(stores.iter().map(|store| ("store", described(store))));
    rows.extend(loading.map(|loading| ("loading", text(&loading))));
    rows
}

/// Describes a host whose certificate the daemon obtains: `api.example.org: 68 days left, next 2027-01-02T15:04:05Z`.
fn obtained(AcmeReport { domain, days_left, next, error }: &AcmeReport) -> String {
    let left = match days_left {
        Some(days) => format!("{days} days left"),
        None => "no certificate yet".to_owned(),
    };
    let next = next.as_ref().map_or_else(|| "now".to_owned(), |next| text(next));
    let error = error.as_ref().map(|error| format!("; failed {}", text(error))).unwrap_or_default();
    format!("{}: {left}, next {next}{error}", text(domain))
}

/// Describes a store: `default: 1.2MiB of 256MiB, redb:data/default.redb`.
fn described(StoreReport { name, url, used, quota, error, granted: _ }: &StoreReport) -> String {
    let state = match (error, used) {
        (Some(error), _) => text(error),
        (None, Some(used)) => format!("{} of {}", size(*used), size(*quota)),
        (None, None) => "not granted to a handler".to_owned(),
    };
    format!("{}: {state}, {}", text(name), text(url))
}

pub(super) fn handlers(Args { socket }: Args) -> Result<ExitCode> {
    socket.show(&HandlersCommand, "", |handlers| {
        let row = |handler: &HandlerReport| {
            let HandlerReport { limits, trial, .. } = handler;
            let trial = trial.as_ref().map(|trial| {
                let TrialReport { percent, version, answered, wanted, .. } = trial;
                format!(" ({percent}% {}, {answered} of {wanted} answered)", text(version))
            });
            vec![
                text(&handler.name),
                text(&handler.kind),
                text(&handler.version) + &trial.unwrap_or_default(),
                format!("{}/{}", handler.running, limits.concurrency),
                format!("{}/{}", handler.waiting, limits.queue),
                handler.requests.to_string(),
                handler.failures.to_string(),
                or_dash(handler.mean_ms, json),
                size(limits.memory as u64),
                nearest(&handler.peaks),
                if handler.allow.is_empty() { "-".to_owned() } else { list(&handler.allow) },
                ways(handler).join("; "),
            ]
        };
        let titles = [
            "NAME", "KIND", "VERSION", "RUNNING", "WAITING", "REQUESTS", "FAILED", "MEAN MS", "MEMORY",
            "NEAREST", "ALLOW", "ROUTES",
        ];
        table::print(&titles, &handlers.iter().map(row).collect::<Vec<_>>());
    })
}

/// Formats a number as JSON does: `2.0`.
fn json(number: f64) -> String {
    format!("{number:?}")
}

/// Names the limit that the jobs of a handler have come closest to: `memory 92%`.
fn nearest(Pairs(peaks): &Pairs<f64>) -> String {
    let nearest =
        peaks.iter().filter(|(_, share)| *share > 0.0).max_by(|one, other| one.1.total_cmp(&other.1));
    or_dash(nearest, |(limit, share)| format!("{} {}%", text(limit), share.ceil()))
}

/// Lists the routes and the schedule of a handler, and whether it is private.
fn ways(handler: &HandlerReport) -> Vec<String> {
    let private = handler.private.then(|| "private".to_owned());
    let scheduled = handler.schedule.as_ref().map(|schedule| {
        let ScheduleReport { cron, next, runs, failed, missed, .. } = schedule;
        let next = text_or_dash(next.as_ref());
        format!("{} (next {next}, runs {runs}, failed {failed}, missed {missed})", text(cron))
    });
    handler.routes.iter().map(|route| text(route)).chain(private).chain(scheduled).collect()
}

pub(super) fn routes(Args { socket }: Args) -> Result<ExitCode> {
    socket.show(&RoutesCommand, "", |routes| {
        let row = |route: &RouteReport| {
            vec![
                if route.methods.is_empty() { "*".to_owned() } else { list(&route.methods) },
                route.host.as_ref().map_or_else(|| "*".to_owned(), |host| text(host)),
                text(&route.path),
                text_or_dash(route.upgrade.as_ref()),
                text(&route.target),
                text_or_dash(route.version.as_ref()),
            ]
        };
        let titles = ["METHODS", "HOST", "PATH", "UPGRADE", "TARGET", "VERSION"];
        table::print(&titles, &routes.iter().map(row).collect::<Vec<_>>());
    })
}

pub(super) fn jobs(Args { socket }: Args) -> Result<ExitCode> {
    socket.show(&JobsCommand, "", |jobs| {
        let row = |job: &JobReport| {
            vec![
                text(&job.id),
                text_or_dash(job.parent.as_ref()),
                text(&job.handler),
                text(&job.kind),
                text(&job.version),
                time(job.age_ms),
                time(job.cpu_ms),
                size(job.memory as u64),
                size(job.written),
            ]
        };
        let titles = ["ID", "CALLED BY", "HANDLER", "KIND", "VERSION", "AGE", "CPU", "MEMORY", "WRITTEN"];
        table::print(&titles, &jobs.iter().map(row).collect::<Vec<_>>());
    })
}

pub(super) fn commands(Args { socket }: Args) -> Result<ExitCode> {
    let Reply { stdout, outcome } = socket.ask(&CommandsCommand, "")?;
    let names = String::from_utf8_lossy(&stdout);
    if socket.json {
        say(&Value::from(names.lines().collect::<Vec<_>>()).to_string());
    } else {
        names.lines().for_each(say);
    }
    Ok(end(&outcome))
}

pub(super) fn kill(KillArgs { id, socket }: KillArgs) -> Result<ExitCode> {
    socket.show(&KillCommand { id }, "", |KillReply { killed }| say(&format!("killed {}", text(&killed))))
}

pub(super) fn explain(ExplainArgs { method, url, socket }: ExplainArgs) -> Result<ExitCode> {
    socket.show(&ExplainCommand { method, url }, "", |reply| explain::print(&reply))
}

pub(super) fn shutdown(Args { socket }: Args) -> Result<ExitCode> {
    let Reply { outcome, .. } = socket.ask(&ShutdownCommand, "")?;
    if outcome.status.is_ok() {
        say(if socket.json { "{\"shutdown\":true}" } else { "the daemon drains and ends" });
    }
    Ok(end(&outcome))
}

pub(super) fn upgrade(UpgradeArgs { force, socket }: UpgradeArgs) -> Result<ExitCode> {
    socket.show(&UpgradeCommand { force, time: None }, "", |UpgradeReply { process, lost }| {
        say(&format!("process {process} serves; the old one drains and ends"));
        lost.iter().for_each(|loss| say(&format!("lost: {}", text(loss))));
    })
}
