//! `portcullis plan` and `portcullis reload`: what a configuration would change, and changing it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::say;
use super::socket::{Reply, Socket, call, end};
use super::table::{elements, text};
use crate::config;
use crate::observe::counted;

/// Show what a reload would change in the running daemon, without changing anything.
///
/// Exit status: 0 a reload would succeed, 1 it would be refused. Two steps of a reload are not tried: binding an
/// address, and running a new version and its probe.
#[derive(clap::Args)]
pub(super) struct PlanArgs {
    /// The configuration, which the daemon reads. `-` reads it from stdin; then relative paths start at
    /// the current directory.
    #[arg(short, long, value_name = "FILE", default_value = "portcullis.toml")]
    config: PathBuf,
    #[command(flatten)]
    socket: Socket,
}

/// Reload the configuration and the modules; on any error the old ones stay in force.
///
/// Waits for the outcome. Exit status: 0 the configuration is in force, 1 it was refused, with the reason. In a systemd unit:
/// ExecReload=/usr/bin/portcullis reload -c FILE.
#[derive(clap::Args)]
pub(super) struct ReloadArgs {
    /// The configuration of the daemon, only to find its admin socket. The daemon reloads the configuration that it was
    /// started with.
    #[arg(short, long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn plan(PlanArgs { config: file, socket }: PlanArgs) -> Result<ExitCode> {
    let here = |path: PathBuf| {
        let path = std::path::absolute(&path).with_context(|| path.display().to_string())?;
        path.into_os_string().into_string().ok().context("the path is not UTF-8")
    };
    let call = if file.as_os_str() == "-" {
        let mut text = Vec::new();
        // One more than the daemon takes, so that it is the daemon who says so.
        let most = config::LARGEST + 1;
        std::io::Read::read_to_end(&mut std::io::Read::take(std::io::stdin(), most), &mut text)?;
        let mut call = call("plan", ["-".to_owned(), here(PathBuf::from("."))?]);
        call.stdin = text.into();
        call
    } else {
        call("plan", [here(file)?])
    };
    let Reply { stdout, outcome } = socket.ask(call)?;
    let told = String::from_utf8_lossy(&stdout);
    match told.trim_end() {
        "" => return Ok(end(&outcome)),
        told if socket.json => say(told),
        told => print(&serde_json::from_str(told).context("the daemon did not answer with JSON")?),
    }
    // What is refused is told: above, with what would change otherwise.
    Ok(ExitCode::from(outcome.status.0))
}

pub(super) fn reload(ReloadArgs { config, socket }: ReloadArgs) -> Result<ExitCode> {
    let socket = socket.of(config);
    socket.show(call("reload", []), |told| {
        let [handlers, routes] = [(&told["handlers"], "handler"), (&told["routes"], "route")]
            .map(|(number, noun)| counted(number.as_u64().unwrap_or_default(), noun));
        say(&format!("generation {}: {handlers}, {routes}", text(&told["generation"])));
        print(&told["changes"]);
    })
}

/// Prints changes, a line each: `+` what comes, `-` what goes, `~` what is different.
fn print(changes: &Value) {
    let lines = lines(changes);
    if lines.is_empty() {
        say("nothing changes");
    }
    lines.iter().for_each(|line| say(line));
}

fn lines(changes: &Value) -> Vec<String> {
    let sign = |value: &Value| match value.as_str() {
        Some("added") => '+',
        Some("removed") => '-',
        _ => '~',
    };
    let mut lines = Vec::new();
    for handler in elements(&changes["handlers"]) {
        lines.push(format!("{} handler {}", sign(&handler["change"]), text(&handler["name"])));
        lines.extend(elements(&handler["what"]).map(|what| format!("    {}", text(what))));
    }
    for route in elements(&changes["routes"]) {
        lines.push(format!("{} route {}", sign(&route["change"]), text(&route["route"])));
    }
    for endpoint in elements(&changes["listen"]) {
        lines.push(format!("{} listen {}", sign(&endpoint["change"]), text(&endpoint["endpoint"])));
    }
    let tls: Vec<_> = elements(&changes["tls"]).map(|line| format!("    {}", text(line))).collect();
    if !tls.is_empty() {
        lines.push("~ tls".to_owned());
        lines.extend(tls);
    }
    if changes["cors_changed"] == true {
        lines.push("~ cors".to_owned());
    }
    lines.extend(elements(&changes["settings"]).map(|key| format!("~ {}", text(key))));
    for trial in elements(&changes["trials_ended"]) {
        let [name, version, percent] = ["handler", "version", "percent"].map(|key| text(&trial[key]));
        lines.push(format!("- trial of {name}: {version}, with {percent}% of the requests"));
    }
    // A reload that was made has refused nothing.
    lines.extend(elements(&changes["refused"]).map(|why| format!("! a reload refuses this: {}", text(why))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_change_is_a_line() {
        let changes = json!({
            "handlers": [{ "name": "a", "change": "changed", "what": ["module 1 -> 2"] }],
            "routes": [{ "route": "GET /a -> a", "change": "removed" }],
            "tls": ["file changed: /etc/cert.pem"],
            "cors_changed": true,
            "settings": ["grace"],
            "trials_ended": [{ "handler": "a", "version": "3", "percent": 10 }],
            "refused": ["needs restart: jobs"],
        });
        assert_eq!(
            lines(&changes),
            [
                "~ handler a",
                "    module 1 -> 2",
                "- route GET /a -> a",
                "~ tls",
                "    file changed: /etc/cert.pem",
                "~ cors",
                "~ grace",
                "- trial of a: 3, with 10% of the requests",
                "! a reload refuses this: needs restart: jobs"
            ]
        );
        assert!(lines(&json!({})).is_empty());
    }
}
