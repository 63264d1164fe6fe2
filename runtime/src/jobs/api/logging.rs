//! `log-level` and `log-reopen`: the commands, and the replies.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::command::{Command, call};
use crate::http::client::JobCall;
use crate::job::{Policy, builtin};

/// Shows or sets the levels of the log.
pub struct LogLevelCommand {
    /// A level, levels by module, or `default` for those of the start. `None` changes nothing.
    pub filter: Option<String>,
}

impl LogLevelCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<LogLevelCommand> {
        match args {
            [] => Ok(LogLevelCommand { filter: None }),
            [filter] => Ok(LogLevelCommand { filter: Some(filter.clone()) }),
            _ => bail!("usage: log-level [FILTER]"),
        }
    }
}

impl Command for LogLevelCommand {
    const NAME: &'static str = builtin::LOG_LEVEL;
    const POLICY: Policy = Policy::LOOK;
    type Reply = LogLevelReply;

    fn encode(&self) -> JobCall {
        call::<Self>(self.filter.clone())
    }
}

/// Opens the file of the access log again.
pub struct LogReopenCommand;

impl Command for LogReopenCommand {
    const NAME: &'static str = builtin::LOG_REOPEN;
    const POLICY: Policy = Policy::LOOK;
    type Reply = LogReopenReply;
}

/// The levels of the log.
#[derive(Serialize, Deserialize)]
pub struct LogLevelReply {
    /// The levels in force.
    pub filter: String,
    /// The levels before the command.
    pub before: String,
}

/// The file that was opened again.
#[derive(Serialize, Deserialize)]
pub struct LogReopenReply {
    /// Its path.
    pub reopened: String,
}
