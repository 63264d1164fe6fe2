//! `history`: the command, and the report about one ended job.

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::command::{Command, call};
use super::pairs::Pairs;
use crate::http::client::JobCall;
use crate::job::{Policy, builtin};

/// Lists ended jobs, oldest first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HistoryCommand {
    /// The handler whose jobs to list. `None` for all.
    pub handler: Option<String>,
    /// Whether to list only jobs that failed, were refused or were cancelled.
    pub failed: bool,
    /// How many of the last jobs to list. `None` for all.
    pub lines: Option<usize>,
    /// The id of the only job to report.
    pub job: Option<String>,
}

impl HistoryCommand {
    const USAGE: &str = "usage: history [--failed] [-n N] [--job ID] [HANDLER]";

    /// Reads the arguments of a job, in any order.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<HistoryCommand> {
        let mut command = HistoryCommand::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--failed" => command.failed = true,
                "-n" => {
                    let number = args.next().and_then(|number| number.parse().ok());
                    command.lines = Some(number.context("-n: wanted a number of jobs")?);
                }
                "--job" => command.job = Some(args.next().context(HistoryCommand::USAGE)?.clone()),
                name if command.handler.is_none() && !name.starts_with('-') => {
                    command.handler = Some(name.to_owned());
                }
                other => bail!("{other:?}: {}", HistoryCommand::USAGE),
            }
        }
        Ok(command)
    }
}

impl Command for HistoryCommand {
    const NAME: &'static str = builtin::HISTORY;
    const POLICY: Policy = Policy::LOOK;
    type Reply = Vec<EndedJobReport>;

    fn encode(&self) -> JobCall {
        let failed = self.failed.then(|| "--failed".to_owned());
        let lines = self.lines.iter().flat_map(|lines| ["-n".to_owned(), lines.to_string()]);
        let job = self.job.iter().flat_map(|job| ["--job".to_owned(), job.clone()]);
        call::<Self>(failed.into_iter().chain(lines).chain(job).chain(self.handler.clone()))
    }
}

/// An ended job, or a request that no handler answered.
#[derive(Serialize, Deserialize)]
pub struct EndedJobReport {
    /// The id of the job; `null` if no handler answered.
    pub id: Option<String>,
    /// The id of the job that called it; `null` if there is none.
    pub parent: Option<String>,
    /// The id of its trace; `null` if it was not traced.
    pub trace_id: Option<String>,
    /// Its handler; `null` if no handler answered.
    pub handler: Option<String>,
    /// The version of the handler.
    pub version: Option<String>,
    /// The kind of the handler.
    pub kind: Option<String>,
    /// When it began, in RFC 3339.
    pub began: String,
    /// The time from its beginning to its end. Every other time is counted from the beginning.
    pub total_ms: f64,
    /// `ok`, or the code of the failure or refusal.
    pub outcome: String,
    /// How it failed, in one line; `null` if it did not.
    pub message: Option<String>,
    /// The guest's stack; empty without one.
    pub stack: String,
    /// The request that it answered; `null` for other jobs.
    pub request: Option<RequestReport>,
    /// Its run; `null` if it was never queued.
    pub run: Option<RunReport>,
    /// The jobs that it called, where one job is asked for.
    pub jobs: Vec<NestedJobReport>,
    /// The file that `portcullis replay` runs again, where one job is asked for; `null` if there is none.
    pub replay: Option<String>,
}

/// The request that a job answered.
#[derive(Serialize, Deserialize)]
pub struct RequestReport {
    /// The method.
    pub method: String,
    /// The path, without the query and shortened to 256 bytes.
    pub path: String,
    /// The path of the route; `null` if no route matched.
    pub route: Option<String>,
    /// The address of the client; `null` for a client on a Unix socket.
    pub client: Option<String>,
    /// The status of the response; `null` if the client left before it.
    pub status: Option<u16>,
    /// When the head of the response was handed over.
    pub first_byte_ms: Option<f64>,
    /// When the response ended.
    pub ended_ms: f64,
    /// Bytes of the response body.
    pub sent: u64,
    /// Whether the whole response was sent.
    pub complete: bool,
}

/// The run of a job. Sizes are in bytes.
#[derive(Serialize, Deserialize)]
pub struct RunReport {
    /// When it got its slot; `null` if it was refused one.
    pub started_ms: Option<f64>,
    /// When it ended.
    pub ended_ms: f64,
    /// How long it waited for its slot.
    pub queue_ms: f64,
    /// How long its instance took to make; `null` without a slot.
    pub instantiate_ms: Option<f64>,
    /// How long its guest ran; `null` if it was not entered.
    pub guest_ms: Option<f64>,
    /// Its CPU time.
    pub cpu_ms: f64,
    /// Its memory at the end.
    pub memory: usize,
    /// The part of the request body that has arrived.
    pub read: u64,
    /// What it has written to stdout.
    pub written: u64,
    /// Its exit status.
    pub status: u8,
    /// The used part of each limit, in percent.
    pub limits: Pairs<f64>,
    /// The last lines of its stderr.
    pub stderr: String,
    /// Its calls to other servers.
    pub calls: Vec<OutboundCallReport>,
}

/// A call of a job to another server.
#[derive(Serialize, Deserialize)]
pub struct OutboundCallReport {
    /// When it began.
    pub started_ms: f64,
    /// How long it took.
    pub time_ms: f64,
    /// The origin of the server.
    pub origin: String,
    /// How it ended, as metrics label it.
    pub outcome: String,
}

/// A job that another job called.
#[derive(Serialize, Deserialize)]
pub struct NestedJobReport {
    /// Its id.
    pub id: String,
    /// Its handler.
    pub handler: String,
    /// When it began.
    pub started_ms: f64,
    /// How long it took.
    pub time_ms: f64,
    /// `ok`, or the code of the failure.
    pub outcome: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_in_any_order() {
        let decode =
            |args: &[&str]| HistoryCommand::decode(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
        let wanted = HistoryCommand {
            handler: Some("hello".to_owned()),
            failed: true,
            lines: Some(3),
            job: Some("1f".to_owned()),
        };

        assert_eq!(decode(&["-n", "3", "hello", "--job", "1f", "--failed"]).unwrap(), wanted);
        assert_eq!(HistoryCommand::decode(&wanted.encode().args).unwrap(), wanted);
        assert_eq!(decode(&[]).unwrap(), HistoryCommand::default());
        for bad in [&["-n"][..], &["-n", "x"], &["a", "b"], &["-x"], &["--job"]] {
            assert!(decode(bad).is_err(), "{bad:?}");
        }
    }
}
