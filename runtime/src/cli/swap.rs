//! `portcullis swap`, `promote` and `rollback`: replace the module of a handler, end its trial, or undo that.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use super::say;
use super::socket::Socket;
use super::table::text;
use crate::catalog::Percent;
use crate::config;
use crate::jobs::api::{
    PromoteCommand, PromoteReply, RollbackCommand, RollbackReply, Slower, SwapCommand, SwapReply, TrialEnd,
    TrialRequest,
};
use crate::operator_file;
use crate::wasm::BinaryKind;
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
    #[arg(long, value_name = "PERCENT", value_parser = TrialRequest::percent)]
    canary: Option<Percent>,
    /// The length of the trial [default: 60s].
    #[arg(long = "for", value_name = "TIME", requires = "canary", value_parser = duration)]
    time: Option<Duration>,
    /// Take the version back if it answers fewer requests during the trial [default: 20].
    #[arg(long, value_name = "NUMBER", requires = "canary", value_parser = TrialRequest::requests)]
    requests: Option<u64>,
    /// Take the version back if its responses are slow more often than those of the current version. Slow is longer than
    /// this many times its 99th percentile [default: 4]; `none` does not compare times.
    #[arg(long, value_name = "FACTOR", requires = "canary", value_parser = TrialRequest::slower)]
    slower: Option<Slower>,
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

/// End a handler's trial: the version on trial serves all requests, whatever the trial would have found.
#[derive(clap::Args)]
pub(super) struct PromoteArgs {
    /// The handler.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn swap(args: SwapArgs) -> Result<ExitCode> {
    let SwapArgs { name, file, canary, time, requests, slower, socket } = args;
    let trial = canary.map(|percent| TrialRequest { percent, time, requests, slower });
    let command = SwapCommand { name: name.parse()?, trial };
    let module = operator_file::read(&file, CompileLimits::LARGEST_MODULE)
        .with_context(|| format!("read {}", file.display()))?;
    // The daemon does not know the name of the file.
    BinaryKind::of(&module.bytes).map_err(|reason| anyhow!("{}: {reason:#}", file.display()))?;
    socket.show(&command, module.bytes, |SwapReply { handler, old, new, canary, generation: _ }| {
        let (name, old, new) = (text(&handler), text(&old), text(&new));
        say(&match canary {
            None => format!("{name}: {old} -> {new}"),
            Some(trial) => format!(
                "{name}: {new} is on trial with {}% of the requests beside {old}, and has to answer {} of them; job {} watches it",
                trial.percent,
                trial.requests,
                text(&trial.job)
            ),
        });
    })
}

pub(super) fn promote(PromoteArgs { name, socket }: PromoteArgs) -> Result<ExitCode> {
    let command = PromoteCommand { name: name.parse()? };
    socket.show(&command, "", |PromoteReply { handler, old, new }| {
        say(&format!("{}: {} -> {}", text(&handler), text(&old), text(&new)));
    })
}

pub(super) fn rollback(RollbackArgs { name, socket }: RollbackArgs) -> Result<ExitCode> {
    let command = RollbackCommand { name: name.parse()? };
    socket.show(&command, "", |RollbackReply { handler, old, new, trial }| {
        let (name, old, new) = (text(&handler), text(&old), text(&new));
        say(&match trial {
            Some(TrialEnd::Ended) => format!("{name}: the trial of {old} is over, {new} goes on"),
            None => format!("{name}: {old} -> {new}"),
        });
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).map_err(|error| format!("{error:#}"))
}
