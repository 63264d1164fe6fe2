//! `logs`: the command, and the lines that it writes, one JSON object each.

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::command::{Command, call};
use crate::http::client::JobCall;
use crate::job::{Policy, builtin};

/// Reads the journal.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LogsCommand {
    /// Whether to follow: later lines are written as they come.
    pub follow: bool,
    /// How many of the existing lines to write. `None` for all.
    pub lines: Option<usize>,
    /// The handler or job whose lines to write. `None` for all.
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
    const POLICY: Policy = Policy::LISTEN;
    type Reply = ();

    fn encode(&self) -> JobCall {
        let follow = self.follow.then(|| "-f".to_owned());
        let lines = self.lines.iter().flat_map(|lines| ["-n".to_owned(), lines.to_string()]);
        call::<Self>(follow.into_iter().chain(lines).chain(self.name.clone()))
    }
}

/// A line of the journal, with one of `said`, `ended` and `failed`.
#[derive(Serialize, Deserialize)]
pub struct LoggedLine {
    /// The time, in RFC 3339.
    pub time: String,
    /// The id of the job.
    pub job: String,
    /// The handler of the job.
    pub handler: String,
    /// The id of the job that called it; left out if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// A line that it wrote to stderr.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Why it gave no valid response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// Written instead of lines that were dropped because the reader was too slow.
#[derive(Serialize, Deserialize)]
pub struct DroppedLines {
    /// The number of dropped lines.
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
