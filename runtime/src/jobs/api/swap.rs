//! `swap`, `canary`, `promote` and `rollback`: the commands, with the options of a trial, and the replies.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::command::{Command, call};
use crate::catalog::{Percent, Rules};
use crate::config;
use crate::http::client::JobCall;
use crate::job::{Env, Name, Policy, builtin};

/// Replaces the module of a handler by the input of the job.
pub struct SwapCommand {
    /// The handler.
    pub name: Name,
    /// The trial of the new version. `None` lets it serve all requests at once.
    pub trial: Option<TrialRequest>,
}

/// The options of a trial. `None` stands for the default.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrialRequest {
    /// The share of the requests that go to the version.
    pub percent: Percent,
    /// How long the trial lasts.
    pub time: Option<Duration>,
    /// How many requests the version has to answer.
    pub requests: Option<u64>,
    /// How much slower than the serving version it may be.
    pub slower: Option<Slower>,
}

/// The largest allowed ratio of its 99th percentile to that of the serving version. `None` does not compare times.
pub type Slower = Option<u32>;

/// The variables that carry the options of a trial.
const CANARY: &str = "CANARY";
const FOR: &str = "FOR";
const REQUESTS: &str = "REQUESTS";
const SLOWER: &str = "SLOWER";

/// The value of [`SLOWER`] that turns the comparison off.
const NONE: &str = "none";

impl TrialRequest {
    /// Reads a share of the requests: `10` or `10%`.
    ///
    /// # Errors
    /// The text names the range.
    pub fn percent(text: &str) -> Result<Percent, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
        number.and_then(Percent::new).ok_or_else(|| "wanted 1% to 99%".to_owned())
    }

    /// Reads a number of requests.
    ///
    /// # Errors
    /// The text names the range.
    pub fn requests(text: &str) -> Result<u64, String> {
        within(text, 1..=1_000_000_000)
    }

    /// Reads how much slower a version may be: a factor, or `none`.
    ///
    /// # Errors
    /// The text names the range.
    pub fn slower(text: &str) -> Result<Slower, String> {
        match text {
            NONE => Ok(None),
            _ => within(text, 1..=1000).map(Some).map_err(|wanted| format!("{wanted}, or {NONE:?}")),
        }
    }

    /// Returns the rules of the trial, with defaults filled in.
    pub fn rules(&self) -> Rules {
        Rules {
            time: self.time.unwrap_or(Duration::from_secs(60)),
            requests: self.requests.unwrap_or(20),
            slower: self.slower.unwrap_or(Some(4)),
        }
    }
}

/// Parses a whole number within a range.
fn within<T: FromStr + PartialOrd + fmt::Display>(text: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("wanted a whole number from {} to {}", range.start(), range.end()))
}

impl SwapCommand {
    /// Reads the arguments and variables of a job.
    ///
    /// # Errors
    /// The usage, or the variable that is malformed and what it must be.
    pub fn decode(args: &[String], env: &Env) -> Result<SwapCommand> {
        let [name] = args else { bail!("usage: swap NAME < MODULE") };
        Ok(SwapCommand { name: name.parse()?, trial: trial(env)? })
    }
}

fn trial(env: &Env) -> Result<Option<TrialRequest>> {
    if env.get(CANARY).is_none() {
        // Without a trial these variables have no meaning.
        if let Some(key) = [FOR, REQUESTS, SLOWER].into_iter().find(|key| env.get(key).is_some()) {
            bail!("{key} is about a trial: set {CANARY} as well, or leave it out");
        }
        return Ok(None);
    }
    let percent = variable(env, CANARY, TrialRequest::percent)?.context(CANARY)?;
    let time = env.get(FOR).map(config::duration).transpose().context(FOR)?;
    let requests = variable(env, REQUESTS, TrialRequest::requests)?;
    let slower = variable(env, SLOWER, TrialRequest::slower)?;
    Ok(Some(TrialRequest { percent, time, requests, slower }))
}

fn variable<T>(env: &Env, key: &str, read: fn(&str) -> Result<T, String>) -> Result<Option<T>> {
    let Some(text) = env.get(key) else { return Ok(None) };
    read(text).map(Some).map_err(|wanted| anyhow::anyhow!("{key}={text:?}: {wanted}"))
}

impl Command for SwapCommand {
    const NAME: &'static str = builtin::SWAP;
    const POLICY: Policy = Policy::CHANGE;
    type Reply = SwapReply;

    fn encode(&self) -> JobCall {
        let variables = self.trial.iter().flat_map(|TrialRequest { percent, time, requests, slower }| {
            let slower = slower.map(|factor| factor.map_or(NONE.to_owned(), |factor| factor.to_string()));
            [
                (CANARY, Some(percent.get().to_string())),
                (FOR, time.map(|time| format!("{}ms", time.as_millis()))),
                (REQUESTS, requests.map(|requests| requests.to_string())),
                (SLOWER, slower),
            ]
        });
        let env = variables.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        JobCall { env, ..call::<Self>([self.name.to_string()]) }
    }
}

/// Watches the trial of a handler to its end. The daemon itself runs this job, which writes a line of text.
pub struct TrialCommand {
    /// The handler.
    pub name: Name,
}

impl TrialCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<TrialCommand> {
        let [name] = args else { bail!("usage: canary NAME") };
        Ok(TrialCommand { name: name.parse()? })
    }
}

impl Command for TrialCommand {
    const NAME: &'static str = builtin::CANARY;
    const POLICY: Policy = Policy::WORK;
    type Reply = ();

    fn encode(&self) -> JobCall {
        call::<Self>([self.name.to_string()])
    }
}

/// Ends the trial of a handler, or goes back to the version that served before.
pub struct RollbackCommand {
    /// The handler.
    pub name: Name,
}

impl RollbackCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<RollbackCommand> {
        Ok(RollbackCommand { name: args.first().context("usage: rollback NAME")?.parse()? })
    }
}

impl Command for RollbackCommand {
    const NAME: &'static str = builtin::ROLLBACK;
    const POLICY: Policy = Policy::CHANGE;
    type Reply = RollbackReply;

    fn encode(&self) -> JobCall {
        call::<Self>([self.name.to_string()])
    }
}

/// Ends the trial of a handler: the version on trial serves all requests.
pub struct PromoteCommand {
    /// The handler.
    pub name: Name,
}

impl PromoteCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<PromoteCommand> {
        let [name] = args else { bail!("usage: promote NAME") };
        Ok(PromoteCommand { name: name.parse()? })
    }
}

impl Command for PromoteCommand {
    const NAME: &'static str = builtin::PROMOTE;
    const POLICY: Policy = Policy::CHANGE;
    type Reply = PromoteReply;

    fn encode(&self) -> JobCall {
        call::<Self>([self.name.to_string()])
    }
}

/// The result of a swap.
#[derive(Serialize, Deserialize)]
pub struct SwapReply {
    /// The handler.
    pub handler: String,
    /// The version that served before.
    pub old: String,
    /// The new version.
    pub new: String,
    /// The trial of the new version; left out if it serves at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<BegunTrial>,
    /// The generation that serves now.
    #[serde(default)]
    pub generation: u64,
}

/// A trial that has begun.
#[derive(Serialize, Deserialize)]
pub struct BegunTrial {
    /// Its share of the requests.
    pub percent: u8,
    /// How long it lasts.
    #[serde(default)]
    pub for_ms: u64,
    /// How many requests the version has to answer.
    pub requests: u64,
    /// The largest allowed ratio of its 99th percentile to that of the other version; `null` does not compare times.
    pub slower: Option<u32>,
    /// The job that watches it.
    pub job: String,
}

/// The result of a promotion.
#[derive(Serialize, Deserialize)]
pub struct PromoteReply {
    /// The handler.
    pub handler: String,
    /// The version that served beside the trial.
    pub old: String,
    /// The version that was on trial, and serves now.
    pub new: String,
}

/// The result of a rollback.
#[derive(Serialize, Deserialize)]
pub struct RollbackReply {
    /// The handler.
    pub handler: String,
    /// The version that no longer serves, or that was on trial.
    pub old: String,
    /// The version that serves.
    pub new: String,
    /// Whether a trial was ended; `null` if the serving version was replaced.
    pub trial: Option<TrialEnd>,
}

/// What a rollback did to a trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialEnd {
    /// The trial was ended.
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes an encoded command.
    fn decoded(command: &SwapCommand) -> SwapCommand {
        let JobCall { args, env: variables, .. } = command.encode();
        let mut env = Env::new();
        for (name, value) in variables {
            env.set(name, value).unwrap();
        }
        SwapCommand::decode(&args, &env).unwrap()
    }

    #[test]
    fn a_swap_is_decoded_as_it_was_encoded() {
        let percent = Percent::new(10).unwrap();
        for trial in [
            None,
            Some(TrialRequest { percent, time: None, requests: None, slower: None }),
            Some(TrialRequest {
                percent,
                time: Some(Duration::from_millis(90_500)),
                requests: Some(7),
                slower: Some(None),
            }),
            Some(TrialRequest { percent, time: None, requests: None, slower: Some(Some(2)) }),
        ] {
            let command = SwapCommand { name: "hello".parse().unwrap(), trial };

            let decoded = decoded(&command);

            assert_eq!((decoded.name, decoded.trial), (command.name, trial));
        }
    }
}
