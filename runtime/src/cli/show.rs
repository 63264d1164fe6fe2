//! The verbs that run one job of the daemon and show what it says.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::socket::{Reply, Socket, call, end};
use super::table::{self, elements, size, text, time};
use super::{explain, say};
use crate::http::client::JobCall;

/// Verbs without arguments.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    socket: Socket,
}

/// `kill ID`.
#[derive(clap::Args)]
pub(super) struct KillArgs {
    /// The id of the job, as `jobs` and the log show it.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    socket: Socket,
}

/// `explain METHOD URL`.
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
    socket.show(bare("status"), |told| {
        for (key, value) in told.as_object().into_iter().flatten() {
            let (label, shown) = match key.strip_suffix("_ms") {
                Some(label) => (label, time(value)),
                None if key == "memory" => (key.as_str(), size(value)),
                // One line a mistake, and one line here.
                None if key == "reload_refused" => (key.as_str(), joined(value)),
                None => (key.as_str(), text(value)),
            };
            say(&format!("{:18}{shown}", label.replace('_', " ")));
        }
    })
}

fn joined(value: &Value) -> String {
    text(&value.as_str().map_or(Value::Null, |lines| lines.replace('\n', "; ").into()))
}

pub(super) fn handlers(Args { socket }: Args) -> Result<ExitCode> {
    socket.show(bare("handlers"), |told| {
        let row = |handler: &Value| {
            let limits = &handler["limits"];
            let trial = match &handler["trial"] {
                Value::Null => String::new(),
                trial => {
                    let [percent, version, answered, wanted] =
                        ["percent", "version", "answered", "wanted"].map(|key| text(&trial[key]));
                    format!(" ({percent}% {version}, {answered} of {wanted} answered)")
                }
            };
            vec![
                text(&handler["name"]),
                text(&handler["kind"]),
                text(&handler["version"]) + &trial,
                format!("{}/{}", text(&handler["running"]), text(&limits["concurrency"])),
                format!("{}/{}", text(&handler["waiting"]), text(&limits["queue"])),
                text(&handler["requests"]),
                text(&handler["failures"]),
                text(&handler["mean_ms"]),
                size(&limits["memory"]),
                nearest(&handler["peaks"]),
                Some(text(&handler["allow"]))
                    .filter(|allow| !allow.is_empty())
                    .unwrap_or_else(|| "-".to_owned()),
                ways(handler).join("; "),
            ]
        };
        let titles = [
            "NAME", "KIND", "VERSION", "RUNNING", "WAITING", "REQUESTS", "FAILED", "MEAN MS", "MEMORY",
            "NEAREST", "MAY ASK", "ROUTES",
        ];
        table::print(&titles, &elements(told).map(row).collect::<Vec<_>>());
    })
}

/// Says which limit the jobs of a handler have come nearest to: `memory 92%`.
fn nearest(peaks: &Value) -> String {
    let shares =
        peaks.as_object().into_iter().flatten().filter_map(|(limit, share)| Some((limit, share.as_f64()?)));
    let nearest = shares.filter(|(_, share)| *share > 0.0).max_by(|one, other| one.1.total_cmp(&other.1));
    nearest.map_or_else(|| "-".to_owned(), |(limit, share)| format!("{limit} {}%", share.ceil()))
}

/// Says what leads to a handler.
fn ways(handler: &Value) -> Vec<String> {
    let private = (handler["private"] == true).then(|| "private".to_owned());
    let schedule = &handler["schedule"];
    let scheduled = (!schedule.is_null()).then(|| {
        format!(
            "{} (next {}, runs {}, failed {}, missed {})",
            text(&schedule["cron"]),
            text(&schedule["next"]),
            text(&schedule["runs"]),
            text(&schedule["failed"]),
            text(&schedule["missed"])
        )
    });
    elements(&handler["routes"]).map(text).chain(private).chain(scheduled).collect()
}

pub(super) fn routes(Args { socket }: Args) -> Result<ExitCode> {
    socket.show(bare("routes"), |told| {
        let any = |value: String, any: &str| if value.is_empty() { any.to_owned() } else { value };
        let row = |route: &Value| {
            vec![
                any(text(&route["methods"]), "*"),
                text(&route["host"]).replacen('-', "*", usize::from(route["host"].is_null())),
                text(&route["path"]),
                text(&route["upgrade"]),
                text(&route["handler"]),
                text(&route["version"]),
            ]
        };
        let titles = ["METHODS", "HOST", "PATH", "UPGRADE", "HANDLER", "VERSION"];
        table::print(&titles, &elements(told).map(row).collect::<Vec<_>>());
    })
}

pub(super) fn jobs(Args { socket }: Args) -> Result<ExitCode> {
    socket.show(bare("jobs"), |told| {
        let row = |job: &Value| {
            vec![
                text(&job["id"]),
                text(&job["parent"]),
                text(&job["handler"]),
                text(&job["kind"]),
                text(&job["version"]),
                time(&job["age_ms"]),
                time(&job["cpu_ms"]),
                size(&job["memory"]),
                size(&job["written"]),
            ]
        };
        let titles = ["ID", "CALLED BY", "HANDLER", "KIND", "VERSION", "AGE", "CPU", "MEMORY", "WRITTEN"];
        table::print(&titles, &elements(told).map(row).collect::<Vec<_>>());
    })
}

pub(super) fn commands(Args { socket }: Args) -> Result<ExitCode> {
    let Reply { stdout, outcome } = socket.ask(bare("commands"))?;
    let names = String::from_utf8_lossy(&stdout);
    if socket.json {
        say(&Value::from(names.lines().collect::<Vec<_>>()).to_string());
    } else {
        names.lines().for_each(say);
    }
    Ok(end(&outcome))
}

pub(super) fn kill(KillArgs { id, socket }: KillArgs) -> Result<ExitCode> {
    socket.show(call("kill", [id]), |told| say(&format!("killed {}", text(&told["killed"]))))
}

pub(super) fn explain(ExplainArgs { method, url, socket }: ExplainArgs) -> Result<ExitCode> {
    socket.show(call("explain", [method, url]), explain::print)
}

pub(super) fn shutdown(Args { socket }: Args) -> Result<ExitCode> {
    let Reply { outcome, .. } = socket.ask(bare("shutdown"))?;
    if outcome.status.is_ok() {
        say(if socket.json { "{\"shutdown\":true}" } else { "the daemon drains and ends" });
    }
    Ok(end(&outcome))
}

pub(super) fn upgrade(UpgradeArgs { force, socket }: UpgradeArgs) -> Result<ExitCode> {
    socket.show(call("upgrade", force.then(|| "--force".to_owned())), |told| {
        say(&format!("process {} serves; the old one drains and ends", told["process"]));
        elements(&told["lost"]).for_each(|loss| say(&format!("lost: {}", text(loss))));
    })
}

fn bare(name: &str) -> JobCall {
    call(name, [])
}
