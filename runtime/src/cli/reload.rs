//! `portcullis plan` and `portcullis reload`: show the changes of a configuration, or apply them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use super::say;
use super::socket::{Reply, Socket, end, read};
use super::table::text;
use crate::config;
use crate::jobs::api::{
    ChangedHandler, ChangedListener, ChangedRoute, ChangedStore, ChangesReport, Difference, EndedTrial,
    PlanCommand, PlanReply, ReloadCommand, ReloadReply,
};
use crate::observe::counted;

/// Show what a reload would change in the running daemon, without changing anything.
///
/// Exit status: 0 a reload would succeed, 1 it would be refused. Two steps of a reload are not tried: binding an
/// address, and running a new version and its probe.
#[derive(clap::Args)]
pub(super) struct PlanArgs {
    /// The configuration, which the daemon reads [default: portcullis.toml]. `-` reads it from stdin; then relative
    /// paths start at the current directory.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
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

pub(super) fn plan(PlanArgs { config, socket }: PlanArgs) -> Result<ExitCode> {
    let file = config.map_or_else(file_here, Ok)?;
    let here = |path: PathBuf| {
        let path = std::path::absolute(&path).with_context(|| path.display().to_string())?;
        path.into_os_string().into_string().ok().context("the path is not UTF-8")
    };
    let mut text = Vec::new();
    let command = if file.as_os_str() == "-" {
        // One byte more than the daemon accepts, so that the daemon reports the limit.
        let max = config::LARGEST + 1;
        std::io::Read::read_to_end(&mut std::io::Read::take(std::io::stdin(), max), &mut text)?;
        PlanCommand::Stdin(here(PathBuf::from("."))?)
    } else {
        PlanCommand::File(here(file)?)
    };
    let Reply { stdout, outcome } = socket.ask(&command, text)?;
    let told = String::from_utf8_lossy(&stdout);
    match told.trim_end() {
        "" => return Ok(end(&outcome)),
        told if socket.json => say(told),
        told => {
            let PlanReply { changes, warnings, refused } = read::<PlanCommand>(told)?;
            print(&changes, &warnings, &refused);
        }
    }
    // The reasons of a refusal are printed above, among the other changes.
    Ok(ExitCode::from(outcome.status.0))
}

/// Returns the configuration in the current directory. Fails if there is no such file: with `--socket`, the daemon may
/// serve another directory.
fn file_here() -> Result<PathBuf> {
    let file = PathBuf::from("portcullis.toml");
    // A file that cannot be looked at is left to the daemon, which may have more rights.
    let exists = file.try_exists().unwrap_or(true);
    ensure!(exists, "portcullis.toml does not exist in this directory: name the configuration with -c FILE");
    Ok(file)
}

pub(super) fn reload(ReloadArgs { config, socket }: ReloadArgs) -> Result<ExitCode> {
    let socket = socket.of(config);
    socket.show(&ReloadCommand::Everything, "", |reply| {
        let ReloadReply { generation, handlers, routes, changes } = reply;
        let (handlers, routes) = (counted(handlers, "handler"), counted(routes, "route"));
        say(&format!("generation {generation}: {handlers}, {routes}"));
        // A reload that succeeded has refused nothing.
        print(&changes, &[], &[]);
    })
}

/// Prints changes, one a line: `+` added, `-` removed, `~` changed.
fn print(changes: &ChangesReport, warnings: &[String], refused: &[String]) {
    let lines = lines(changes, warnings, refused);
    if lines.is_empty() {
        say("nothing changes");
    }
    lines.iter().for_each(|line| say(line));
}

fn sign(difference: Difference) -> char {
    match difference {
        Difference::Added => '+',
        Difference::Removed => '-',
        Difference::Changed => '~',
    }
}

fn lines(changes: &ChangesReport, warnings: &[String], refused: &[String]) -> Vec<String> {
    let ChangesReport {
        listen,
        tls,
        cors_changed,
        settings,
        reopened,
        needs_restart: _,
        handlers,
        stores,
        routes,
        trials_ended,
        displaced,
        migrations,
    } = changes;
    let detail = |line: &String| format!("    {}", text(line));
    let mut lines = Vec::new();
    for ChangedHandler { name, change, what } in handlers {
        lines.push(format!("{} handler {}", sign(*change), text(name)));
        lines.extend(what.iter().map(detail));
    }
    for ChangedStore { name, change, what } in stores {
        lines.push(format!("{} store {}", sign(*change), text(name)));
        lines.extend(what.iter().map(detail));
    }
    for ChangedRoute { route, change } in routes {
        lines.push(format!("{} route {}", sign(*change), text(route)));
    }
    for ChangedListener { endpoint, change } in listen {
        lines.push(format!("{} listen {}", sign(*change), text(endpoint)));
    }
    if !tls.is_empty() {
        lines.push("~ tls".to_owned());
        lines.extend(tls.iter().map(detail));
    }
    if *cors_changed {
        lines.push("~ cors".to_owned());
    }
    lines.extend(settings.iter().chain(reopened).map(|what| format!("~ {}", text(what))));
    for EndedTrial { handler, version, percent } in trials_ended {
        let (name, version) = (text(handler), text(version));
        lines.push(format!("- trial of {name}: {version}, with {percent}% of the requests"));
    }
    lines.extend(displaced.iter().map(|mount| format!("! {}", text(mount))));
    lines.extend(migrations.iter().map(|line| format!("+ migration of {}", text(line))));
    lines.extend(warnings.iter().map(|why| format!("! warning: {}", text(why))));
    lines.extend(refused.iter().map(|why| format!("! a reload refuses this: {}", text(why))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::api::{RollbackCommand, SwapCommand, UpgradeCommand};

    #[test]
    fn every_change_is_a_line() {
        let told = r#"{
            "listen": [],
            "handlers": [{ "name": "a", "change": "changed", "what": ["module 1 -> 2"] }],
            "stores": [{ "name": "s", "change": "added", "what": ["memory:"] }],
            "routes": [{ "route": "GET /a -> a", "change": "removed" }],
            "tls": ["file changed: /etc/cert.pem"],
            "cors_changed": true,
            "settings": ["grace"],
            "reopened": ["static directory /srv/site: another directory"],
            "needs_restart": [],
            "trials_ended": [{ "handler": "a", "version": "3", "percent": 10 }],
            "displaced": ["handler \"a\": the mount /srv/a keeps"],
            "migrations": ["app: 0002_users.sql"],
            "warnings": ["store \"s\": down"],
            "refused": ["needs restart: jobs"],
            "of_a_newer_daemon": 1
        }"#;

        let PlanReply { changes, warnings, refused } = read::<PlanCommand>(told).unwrap();

        assert_eq!(
            lines(&changes, &warnings, &refused),
            [
                "~ handler a",
                "    module 1 -> 2",
                "+ store s",
                "    memory:",
                "- route GET /a -> a",
                "~ tls",
                "    file changed: /etc/cert.pem",
                "~ cors",
                "~ grace",
                "~ static directory /srv/site: another directory",
                "- trial of a: 3, with 10% of the requests",
                "! handler \"a\": the mount /srv/a keeps",
                "+ migration of app: 0002_users.sql",
                "! warning: store \"s\": down",
                "! a reload refuses this: needs restart: jobs"
            ]
        );
        assert!(lines(&ChangesReport::default(), &[], &[]).is_empty());
    }

    #[test]
    fn a_change_is_shown_without_the_keys_that_its_verb_does_without() {
        let swapped = r#"{"handler": "a", "old": "1", "new": "2", "canary": {"percent": 9, "requests": 3, "job": "7"}}"#;

        assert!(read::<SwapCommand>(swapped).is_ok());
        assert!(read::<UpgradeCommand>(r#"{"process": 7}"#).is_ok());
        assert!(read::<RollbackCommand>(r#"{"handler": "a", "old": "1", "new": "2"}"#).is_ok());
        assert!(read::<SwapCommand>(r#"{"handler": "a", "old": "1"}"#).is_err());
    }

    #[test]
    fn a_reply_of_another_version_is_an_error_that_names_the_field() {
        let error = read::<ReloadCommand>(r#"{"generation": 1, "handlers": 2}"#).err().unwrap().to_string();

        assert!(error.contains("another version") && error.contains("`routes`"), "{error}");
    }
}
