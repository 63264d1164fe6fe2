//! Prints the reply of `explain METHOD URL`.

use super::say;
use super::table::{list, or_dash, size, text, time};
use crate::jobs::api::{CallLimitsReport, ExplainReply, ExplainedHandler, ExplainedRoute, NearMiss};

/// Prints an explanation for people.
pub(super) fn print(reply: &ExplainReply) {
    let ExplainReply { method, host, path, client, traces, route, trial, allow, status, why, near, .. } =
        reply;
    let host = host.as_ref().map(|host| text(host)).unwrap_or_default();
    say(&format!("{} {host}{}", text(method), text(path)));
    field("client", &text(client));
    field("traces", &traces.as_ref().map(|traces| text(traces)).unwrap_or_default());
    if let Some(route) = route {
        found(route);
    }
    if let Some(status) = status {
        field("status", &status.to_string());
    }
    field("why", &text(why));
    if let Some(trial) = trial {
        field("on trial", &format!("{} takes {}%", text(&trial.version), trial.percent));
    }
    if let Some(allow) = allow {
        field("allow", &list(allow));
    }
    for NearMiss { route, handler, miss } in near {
        field("near", &format!("{} -> {}: {}", text(route), text(handler), text(miss)));
    }
}

fn found(found: &ExplainedRoute) {
    field("route", &text(&found.route));
    field("host", &text(&found.host));
    field("method", &text(&found.method));
    let facts =
        [("upgrade", &found.upgrade), ("group", &found.group), ("version prefix", &found.api_version)];
    for (label, value) in facts {
        field(label, &value.as_ref().map(|value| text(value)).unwrap_or_default());
    }
    for (name, value) in &found.captures.0 {
        field("capture", &format!("{} = {:?}", text(name), text(value)));
    }
    found.limits.iter().for_each(|limit| field("rate limit", &text(limit)));
    found.before.iter().for_each(|gate| field("before", &text(gate)));
    field("script name", &format!("{:?}", text(&found.script_name)));
    field("path info", &format!("{:?}", text(&found.path_info)));
    field("location", &found.location.as_ref().map(|location| text(location)).unwrap_or_default());
    field("responses", &found.responses.as_ref().map(|rules| text(rules)).unwrap_or_default());
    match &found.handler {
        Some(handler) => leads_to(handler),
        None => field("target", &text(&found.target)),
    }
}

fn leads_to(handler: &ExplainedHandler) {
    let (name, kind, version) = (text(&handler.name), text(&handler.kind), text(&handler.version));
    field("handler", &format!("{name} ({kind}, {version})"));
    let grants = &handler.grants;
    for (label, values) in [("args", &grants.args), ("env", &grants.env), ("calls", &grants.calls)] {
        field(label, &list(values));
    }
    field("output", &text(&grants.output));
    let lines = [
        ("mount", &grants.mounts),
        ("store", &grants.stores),
        ("allow", &grants.allow),
        ("allow_addresses", &grants.allow_addresses),
    ];
    for (label, values) in lines {
        values.iter().for_each(|value| field(label, &text(value)));
    }
    let limits = &grants.limits;
    if !grants.allow.is_empty() {
        asking(&limits.outbound);
    }
    let all = [
        format!("memory {}", size(limits.memory as u64)),
        format!("body {}", or_dash(limits.body, size)),
        format!("output {}", or_dash(limits.output, size)),
        format!("stderr {}", size(limits.stderr)),
        format!("time {}", or_dash(limits.time_ms, time)),
        format!("cpu {}", or_dash(limits.cpu_ms, time)),
        format!("queue time {}", time(limits.queue_time_ms)),
        format!("concurrency {}", limits.concurrency),
        format!("concurrency per peer {}", limits.concurrency_per_peer),
        format!("queue {}", limits.queue),
        format!("stderr rate {}", limits.stderr_rate),
        format!("handles {}", limits.handles),
    ];
    field("limits", &all.join(", "));
}

/// Prints the limits of outbound requests.
fn asking(limits: &CallLimitsReport) {
    let CallLimitsReport { calls, at_once, connect_ms, first_byte_ms, time_ms, body } = limits;
    let (connect, first_byte) = (time(*connect_ms), time(*first_byte_ms));
    let (whole, body) = (or_dash(*time_ms, time), size(*body));
    field(
        "outbound",
        &format!(
            "{calls} calls, {at_once} at once, connect {connect}, first byte {first_byte}, time {whole}, body {body}"
        ),
    );
}

fn field(label: &str, value: &str) {
    if !value.is_empty() {
        say(&format!("  {label:16}{value}"));
    }
}
