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

/// Replaces the module of a handler in the daemon that runs.
///
/// The module is compiled and proved aside; requests under way finish on the version they began
/// with. It serves until the next swap, rollback, reload or start: to keep it, copy it over the
/// handler's file as well. `upgrade` refuses to lose it.
#[derive(clap::Args)]
pub(super) struct SwapArgs {
    /// The handler.
    #[arg(value_name = "NAME")]
    name: String,
    /// The module.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Put it on trial with this share of the requests; it is promoted or taken back by itself.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    canary: Option<String>,
    /// How long the trial lasts: 60s unless it is said.
    #[arg(long = "for", value_name = "TIME", requires = "canary", value_parser = duration)]
    time: Option<String>,
    /// How many requests the version has to answer during the trial, or it is taken back: 20 unless it is said.
    #[arg(long, value_name = "NUMBER", requires = "canary", value_parser = requests)]
    requests: Option<String>,
    /// Take it back if its 99th percentile is more than this many times that of the version beside it: 4 unless it is
    /// said; `none` does not compare times.
    #[arg(long, value_name = "FACTOR", requires = "canary", value_parser = slower)]
    slower: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

/// Ends the trial of a handler; without one, goes back to the version that served before; again, to the
/// one before that.
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
