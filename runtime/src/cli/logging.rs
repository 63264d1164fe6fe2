//! `portcullis log-level` and `log-reopen`: the levels of the log, and the file of the access log.

use std::process::ExitCode;

use anyhow::Result;

use super::say;
use super::socket::Socket;
use super::table::text;
use crate::jobs::api::{LogLevelCommand, LogReopenCommand};

/// Show the levels of the log, or set them until the daemon ends.
///
/// FILTER is a level (off, error, warn, info, debug, trace), levels by module such as
/// portcullis::net=debug,info, or `default` for the levels of the start. `upgrade` starts a process with the
/// levels of the start.
#[derive(clap::Args)]
pub(super) struct LevelArgs {
    /// The levels to set.
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

/// Reopen the file of the access log after a rotation, as SIGUSR1 does.
#[derive(clap::Args)]
pub(super) struct ReopenArgs {
    #[command(flatten)]
    socket: Socket,
}

pub(super) fn level(LevelArgs { filter, socket }: LevelArgs) -> Result<ExitCode> {
    socket.show(&LogLevelCommand { filter }, "", |reply| say(&text(&reply.filter)))
}

pub(super) fn reopen(ReopenArgs { socket }: ReopenArgs) -> Result<ExitCode> {
    socket.show(&LogReopenCommand, "", |reply| say(&format!("reopened {}", text(&reply.reopened))))
}
