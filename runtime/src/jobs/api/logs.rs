//! `logs`: what jobs said and how they ended, one JSON object a line.

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::command::{Command, call};
use crate::http::client::JobCall;
use crate::job::{AdminQuota, Policy, builtin};

/// Reads the journal.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LogsCommand {
    /// Whether the job goes on with the lines that come.
    pub follow: bool,
    /// How many of the lines that are there. `None`: all of them.
    pub lines: Option<usize>,
    /// The handler or job whose lines are wanted. `None`: those of all.
    pub name: Option<String>,
}

impl LogsCommand {
    /// Reads the arguments of a job, in any order.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<LogsCommand> {
        let mut command = LogsCommand::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "-f" => command.follow = true,
                "-n" => {
                    let number = args.next().and_then(|number| number.parse().ok());
                    command.lines = Some(number.context("-n: wanted a number of lines")?);
                }
                name if command.name.is_none() && !name.starts_with('-') => {
                    command.name = Some(name.to_owned())
                }
                other => bail!("{other:?}: usage: logs [-f] [-n N] [NAME]"),
            }
        }
        Ok(command)
    }
}

impl Command for LogsCommand {
    const NAME: &'static str = builtin::LOGS;
    const POLICY: Policy = Policy { admin_quota: AdminQuota::LongLived, ..Policy::LOOK };
    type Reply = ();

    fn encode(&self) -> JobCall {
        let follow = self.follow.then(|| "-f".to_owned());
        let lines = self.lines.iter().flat_map(|lines| ["-n".to_owned(), lines.to_string()]);
        call::<Self>(follow.into_iter().chain(lines).chain(self.name.clone()))
    }
}

/// A line of the journal: one of `said` and `ended` is there.
#[derive(Serialize, Deserialize)]
pub struct LoggedLine {
    /// When, as RFC 3339 has it.
    pub time: String,
    /// The number of the job.
    pub job: String,
    /// What ran the job.
    pub handler: String,
    /// The number of the job that called it; left out if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// A line that it wrote to stderr.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// Stands in place of lines that a reader was too slow for.
#[derive(Serialize, Deserialize)]
pub struct DroppedLines {
    /// How many.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(args: &[&str]) -> Result<LogsCommand> {
        LogsCommand::decode(&args.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read_in_any_order() {
        let wanted = LogsCommand { name: Some("hello".to_owned()), follow: true, lines: Some(3) };

        assert_eq!(decode(&["-n", "3", "hello", "-f"]).unwrap(), wanted);
        assert_eq!(LogsCommand::decode(&wanted.encode().args).unwrap(), wanted);
        assert_eq!(decode(&[]).unwrap(), LogsCommand::default());
        for bad in [&["-n"][..], &["-n", "x"], &["a", "b"], &["-x"]] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
    }
}
