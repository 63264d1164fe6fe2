//! `kill`, `shutdown` and `upgrade`: the commands, and the replies.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::command::{Command, call};
use crate::config;
use crate::http::client::JobCall;
use crate::job::{Policy, builtin};

/// Ends one job.
pub struct KillCommand {
    /// Its id, as `jobs` and the log show it.
    pub id: String,
}

impl KillCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<KillCommand> {
        let [id] = args else { bail!("usage: kill ID") };
        Ok(KillCommand { id: id.clone() })
    }
}

impl Command for KillCommand {
    const NAME: &'static str = builtin::KILL;
    const POLICY: Policy = Policy::LOOK;
    type Reply = KillReply;

    fn encode(&self) -> JobCall {
        call::<Self>([self.id.clone()])
    }
}

/// Makes the daemon drain and end.
pub struct ShutdownCommand;

impl Command for ShutdownCommand {
    const NAME: &'static str = builtin::SHUTDOWN;
    const POLICY: Policy = Policy::LOOK;
    type Reply = ();
}

/// Replaces the process by the program on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpgradeCommand {
    /// Whether to upgrade even if that undoes swaps and ends trials.
    pub force: bool,
    /// The time limit of the new process to be ready. `None` for the compiler's time limit plus 30 s.
    pub time: Option<Duration>,
}

impl UpgradeCommand {
    /// The argument of [`UpgradeCommand::force`].
    pub const FORCE: &str = "--force";

    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<UpgradeCommand> {
        let mut command = UpgradeCommand { force: false, time: None };
        for arg in args {
            match arg.as_str() {
                UpgradeCommand::FORCE => command.force = true,
                time => {
                    command.time = Some(config::duration(time).context("usage: upgrade [--force] [TIME]")?);
                }
            }
        }
        Ok(command)
    }
}

impl Command for UpgradeCommand {
    const NAME: &'static str = builtin::UPGRADE;
    const POLICY: Policy = Policy::CHANGE;
    type Reply = UpgradeReply;

    fn encode(&self) -> JobCall {
        let force = self.force.then(|| UpgradeCommand::FORCE.to_owned());
        call::<Self>(force.into_iter().chain(self.time.map(|time| format!("{}ms", time.as_millis()))))
    }
}

/// The job that was ended.
#[derive(Serialize, Deserialize)]
pub struct KillReply {
    /// Its id.
    pub killed: String,
}

/// The process that serves now.
#[derive(Serialize, Deserialize)]
pub struct UpgradeReply {
    /// Its id.
    pub process: u32,
    /// What is lost with the old process, such as swaps and trials, a line each.
    #[serde(default)]
    pub lost: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_decoded_as_it_was_encoded() {
        for (force, time) in [(false, None), (true, Some(Duration::from_secs(90)))] {
            let command = UpgradeCommand { force, time };

            assert_eq!(UpgradeCommand::decode(&command.encode().args).unwrap(), command);
        }
    }
}
