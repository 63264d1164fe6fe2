//! Converts entries of the catalog into the reports of the admin API.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};

use super::api::{CallLimitsReport, GrantsReport, LimitsReport, Pairs, ScheduleReport, TrialReport};
use crate::catalog::{Route, RouteGate, RouteTarget, TrialResults, TrialVersion};
use crate::job::outbound::OutboundOutcome;
use crate::job::{HandlerStats, HandlerVersion, Limits, Name, OutputFormat, Overlap, Schedule};
use crate::store::{StoreGrant, StoreOptions, StoreUrl};

/// Describes the limits of a handler's jobs.
pub(super) fn limits(limits: &Limits) -> LimitsReport {
    LimitsReport {
        memory: limits.memory,
        time_ms: limits.time.map(millis),
        cpu_ms: limits.cpu.map(millis),
        body: bounded(limits.body),
        output: bounded(limits.output),
        concurrency: limits.concurrency,
        concurrency_per_peer: limits.share(),
        queue: limits.queue,
        queue_time_ms: millis(limits.queue_time),
        stderr: limits.stderr,
        stderr_rate: limits.stderr_rate,
        handles: limits.handles,
        outbound: CallLimitsReport {
            calls: limits.outbound.calls,
            at_once: limits.outbound.at_once,
            connect_ms: millis(limits.outbound.connect),
            first_byte_ms: millis(limits.outbound.first_byte),
            time_ms: limits.outbound.time.map(millis),
            body: limits.outbound.body,
        },
    }
}

/// Returns a size, or `None` for no limit.
fn bounded(size: u64) -> Option<u64> {
    (size < u64::MAX).then_some(size)
}

/// Describes what a handler is granted. Variables are listed by name only: a value may be a secret.
pub(super) fn grants(entry: &HandlerVersion) -> GrantsReport {
    let (allow, allow_addresses) = outbound(entry);
    GrantsReport {
        args: entry.args.clone(),
        env: entry.env.iter().map(|(name, _)| name.to_owned()).collect(),
        mounts: entry.grants.mounts.iter().map(ToString::to_string).collect(),
        tmp: entry.grants.tmp,
        calls: calls(entry),
        stores: stores(entry),
        allow,
        allow_addresses,
        output: output(&entry.mapping),
        body: entry.conduct.intake().to_string(),
        captures: entry.conduct.captures.to_string(),
        client_leaves: entry.conduct.leaving.to_string(),
        reuse: entry.grants.reuse,
        limits: limits(&entry.limits),
    }
}

/// Lists the stores that a handler may open: `carts (memory:)`, or `default = carts (memory:)` if it has another name
/// for the store.
pub(super) fn stores(entry: &HandlerVersion) -> Vec<String> {
    let store = |grant: &StoreGrant| {
        let StoreOptions { name, url, .. } = grant.store.options();
        let url = absolute(url);
        match grant.name == *name {
            true => format!("{name} ({url})"),
            false => format!("{} = {name} ({url})", grant.name),
        }
    };
    entry.grants.stores.iter().map(store).collect()
}

/// Makes the path of a store absolute, so that configurations from different directories compare.
pub(super) fn absolute(url: &StoreUrl) -> StoreUrl {
    match url {
        StoreUrl::Redb(path) => StoreUrl::Redb(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        url @ (StoreUrl::Memory | StoreUrl::Redis(_) | StoreUrl::Nats(_)) => url.clone(),
    }
}

/// Lists the handlers that a handler may call.
pub(super) fn calls(entry: &HandlerVersion) -> Vec<String> {
    entry.calls.iter().map(Name::to_string).collect()
}

/// Describes the schedule of a handler in a line, with its input.
pub(super) fn schedule_text(entry: &HandlerVersion) -> String {
    let Some(schedule) = &entry.schedule else { return "none".to_owned() };
    let Schedule { args, stdin, overlap, .. } = schedule;
    format!("{schedule} with {args:?}, {} bytes on stdin, overlap {overlap:?}", stdin.len())
}

/// Describes the schedule of a handler.
pub(super) fn schedule(schedule: &Schedule, record: &HandlerStats) -> ScheduleReport {
    let next = schedule.after(Utc::now());
    ScheduleReport {
        cron: schedule.to_string(),
        next: next.map(|next| next.to_rfc3339_opts(SecondsFormat::Secs, true)),
        overlap: schedule.overlap == Overlap::Allowed,
        runs: record.runs.ended(),
        failed: record.runs.failed(),
        missed: record.missed(),
    }
}

/// Lists the servers that a handler may call, and the non-public addresses that it may reach.
pub(super) fn outbound(entry: &HandlerVersion) -> (Vec<String>, Vec<String>) {
    entry.grants.outbound.as_ref().map(|outbound| outbound.grants()).unwrap_or_default()
}

/// Counts the outbound requests of a handler by outcome. Outcomes that did not happen are left out.
pub(super) fn asked(entry: &HandlerVersion) -> Pairs<u64> {
    let tally = entry.grants.outbound.as_ref().map(|outbound| outbound.tally());
    let count = |outcome: OutboundOutcome| tally.map_or(0, |tally| tally.of(outcome));
    let counted = OutboundOutcome::ALL.into_iter().map(|outcome| (outcome.to_string(), count(outcome)));
    counted.filter(|(_, count)| *count > 0).collect()
}

/// Describes a version on trial and its results so far.
pub(super) fn trial(tried: &TrialVersion) -> TrialReport {
    let TrialResults { answered, failed, p99, p99_beside } = tried.trial.results();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    TrialReport {
        version: tried.entry.version.clone(),
        percent: tried.percent.get(),
        requests: tried.entry.record.requests.ended(),
        answered,
        wanted: tried.trial.rules.requests,
        failures: failed,
        p99_ms: p99.map(ms),
        p99_ms_beside: p99_beside.map(ms),
    }
}

/// Describes how a handler's output becomes a response.
pub(super) fn output(mapping: &OutputFormat) -> String {
    match mapping {
        OutputFormat::Cgi => "cgi".to_owned(),
        OutputFormat::Raw(content_type) => format!("raw, {content_type}"),
    }
}

/// Describes a route on one line: `GET,HEAD api.example.org/hello/{who}`.
pub(super) fn route(route: &Route) -> String {
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
    format!("{methods} {}{}", route.host.as_deref().unwrap_or_default(), route.pattern)
}

/// Returns the status of a response that the daemon gives by itself, if the configuration sets it.
pub(super) fn status(target: &RouteTarget) -> Option<u16> {
    match target {
        RouteTarget::Handler(_) | RouteTarget::Files(_) | RouteTarget::Rewrite(_) => None,
        RouteTarget::Redirect(redirect) => Some(redirect.status.as_u16()),
        RouteTarget::Respond(response) => Some(response.status.as_u16()),
    }
}

/// Describes the rate limits of a route and of its handler.
pub(super) fn rate_limits(route: &Route) -> Vec<String> {
    let limits = route.checks.iter().flat_map(|checks| checks.all_limits());
    limits.map(|limit| format!("{limit} ({})", limit.limit.subject)).collect()
}

/// Lists the gates of a route with their kinds.
pub(super) fn gates(route: &Route) -> Vec<String> {
    let gates = route.checks.iter().flat_map(|checks| &checks.gates);
    let kind = |gate: &RouteGate| match gate {
        RouteGate::BuiltIn(gate) => gate.check.kind(),
        RouteGate::Handler(entry) if entry.grants.passes_on => "middleware",
        RouteGate::Handler(_) => "handler",
    };
    gates.map(|gate| format!("{} ({})", gate.name(), kind(gate))).collect()
}

/// Converts a duration to whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
