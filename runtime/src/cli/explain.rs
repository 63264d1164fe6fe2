//! How an explanation of `explain METHOD URL` reads.

use serde_json::Value;

use super::say;
use super::table::{elements, size, text, time};

/// Prints an explanation for a person.
pub(super) fn print(told: &Value) {
    let host = told["host"].as_str().unwrap_or_default();
    say(&format!("{} {host}{}", text(&told["method"]), text(&told["path"])));
    let route = &told["route"];
    if !route.is_null() {
        found(route);
    }
    if !told["status"].is_null() {
        field("status", &text(&told["status"]));
    }
    field("why", &text(&told["why"]));
    if let Some(trial) = told.get("trial").filter(|trial| !trial.is_null()) {
        field("on trial", &format!("{} takes {}%", text(&trial["version"]), text(&trial["percent"])));
    }
    if let Some(allow) = told.get("allow") {
        field("allow", &text(allow));
    }
    for near in elements(&told["near"]) {
        let (route, handler, miss) = (text(&near["route"]), text(&near["handler"]), text(&near["miss"]));
        field("near", &format!("{route} -> {handler}: {miss}"));
    }
}

fn found(route: &Value) {
    field("route", &text(&route["route"]));
    field("host", &text(&route["host"]));
    field("method", &text(&route["method"]));
    if !route["upgrade"].is_null() {
        field("upgrade", &text(&route["upgrade"]));
    }
    if !route["api_version"].is_null() {
        field("version prefix", &text(&route["api_version"]));
    }
    for (name, value) in route["captures"].as_object().into_iter().flatten() {
        field("capture", &format!("{name} = {:?}", text(value)));
    }
    field("script name", &format!("{:?}", text(&route["script_name"])));
    field("path info", &format!("{:?}", text(&route["path_info"])));
    let handler = &route["handler"];
    let (name, kind, version) = (text(&handler["name"]), text(&handler["kind"]), text(&handler["version"]));
    field("handler", &format!("{name} ({kind}, {version})"));
    let grants = &handler["grants"];
    for (label, key) in [("args", "args"), ("env", "env"), ("calls", "calls"), ("output", "output")] {
        field(label, &text(&grants[key]));
    }
    for mount in elements(&grants["mounts"]) {
        field("mount", &text(mount));
    }
    for origin in elements(&grants["allow"]) {
        field("may ask", &text(origin));
    }
    for block in elements(&grants["allow_addresses"]) {
        field("may reach", &text(block));
    }
    let limits = &grants["limits"];
    if elements(&grants["allow"]).next().is_some() {
        asking(&limits["outbound"]);
    }
    let sizes = ["memory", "body", "output", "stderr"].map(|key| format!("{key} {}", size(&limits[key])));
    let times = [("time", "time_ms"), ("cpu", "cpu_ms"), ("queue time", "queue_time_ms")]
        .map(|(key, ms)| format!("{key} {}", time(&limits[ms])));
    let counts = ["concurrency", "queue", "stderr_rate", "handles"];
    let counts = counts.map(|key| format!("{} {}", key.replace('_', " "), text(&limits[key])));
    field("limits", &[&sizes[..], &times, &counts].concat().join(", "));
}

/// Tells what a job may spend on other servers.
fn asking(limits: &Value) {
    let times = [("connect", "connect_ms"), ("first byte", "first_byte_ms"), ("time", "time_ms")];
    let times = times.map(|(key, ms)| format!("{key} {}", time(&limits[ms]))).join(", ");
    let (calls, at_once, body) = (text(&limits["calls"]), text(&limits["at_once"]), size(&limits["body"]));
    field("outbound", &format!("{calls} calls, {at_once} at once, {times}, body {body}"));
}

fn field(label: &str, value: &str) {
    if !value.is_empty() {
        say(&format!("  {label:16}{value}"));
    }
}
