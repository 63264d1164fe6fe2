//! `portcullis swap` and `portcullis rollback`: another version of one handler, and back.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::say;
use super::socket::{Socket, call};
use super::table::text;
use crate::config;
use crate::jobs::Swap;
use crate::operator_file;
use crate::wasm::compile::CompileLimits;

/// Replace a handler's module in the running daemon.
///
/// The module is compiled and proved first. Requests in progress finish on the version they began with.
/// The new version serves until the next swap, rollback, reload or start. To keep it, copy it over the
/// handler's file as well. `upgrade` refuses to lose it.
#[derive(clap::Args)]
pub(super) struct SwapArgs {
    /// The handler.
    #[arg(value_name = "NAME")]
    name: String,
    /// The module.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Put the version on trial with this share of the requests. The daemon then promotes it or takes it back.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    canary: Option<String>,
    /// The length of the trial [default: 60s].
    #[arg(long = "for", value_name = "TIME", requires = "canary", value_parser = duration)]
    time: Option<String>,
    /// Take the version back if it answers fewer requests during the trial [default: 20].
    #[arg(long, value_name = "NUMBER", requires = "canary", value_parser = requests)]
    requests: Option<String>,
    /// Take the version back if its responses are slow more often than those of the current version. Slow is longer than
    /// this many times its 99th percentile [default: 4]; `none` does not compare times.
    #[arg(long, value_name = "FACTOR", requires = "canary", value_parser = slower)]
    slower: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

/// End a handler's trial, or without a trial go back to its previous version.
///
/// Repeated, it goes back further, up to five versions.
#[derive(clap::Args)]
pub(super) struct RollbackArgs {
    /// The handler.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn swap(args: SwapArgs) -> Result<ExitCode> {
    let SwapArgs { name, file, canary, time, requests, slower, socket } = args;
    let mut call = call("swap", [name]);
    let module = operator_file::read(&file, CompileLimits::LARGEST_MODULE)
        .with_context(|| format!("read {}", file.display()))?;
    call.stdin = module.bytes.into();
    let variables = [("CANARY", canary), ("FOR", time), ("REQUESTS", requests), ("SLOWER", slower)];
    call.env = variables.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    socket.show(call, print)
}

pub(super) fn rollback(RollbackArgs { name, socket }: RollbackArgs) -> Result<ExitCode> {
    socket.show(call("rollback", [name]), print)
}

// Here and not by the daemon, which would name them as they are sent.
fn percent(text: &str) -> Result<String, String> {
    Swap::percent(text).map(|percent| percent.get().to_string()).ok_or_else(|| "wanted 1% to 99%".to_owned())
}

fn duration(text: &str) -> Result<String, String> {
    config::duration(text).map(|_| text.to_owned()).map_err(|error| format!("{error:#}"))
}

fn requests(text: &str) -> Result<String, String> {
    within(text, Swap::REQUESTS).ok_or_else(|| "wanted a whole number from 1 to 1000000000".to_owned())
}

fn slower(text: &str) -> Result<String, String> {
    let number = within(text, Swap::SLOWER).or_else(|| (text == "none").then(|| text.to_owned()));
    number.ok_or_else(|| "wanted a whole number from 1 to 1000, or \"none\"".to_owned())
}

fn within<T: FromStr + PartialOrd>(text: &str, range: RangeInclusive<T>) -> Option<String> {
    text.parse().is_ok_and(|number| range.contains(&number)).then(|| text.to_owned())
}

/// Prints `hello: 1f3a... -> 5c7e...`, and the trial if there is one.
fn print(told: &Value) {
    let [name, old, new] = ["handler", "old", "new"].map(|key| text(&told[key]));
    say(&match &told["canary"] {
        Value::Null if told["trial"] == "ended" => {
            format!("{name}: the trial of {old} is over, {new} goes on")
        }
        Value::Null => format!("{name}: {old} -> {new}"),
        trial => format!(
            "{name}: {new} is on trial with {}% of the requests beside {old}, and has to answer {} of them; job {} watches it",
            text(&trial["percent"]),
            text(&trial["requests"]),
            text(&trial["job"])
        ),
    });
}
