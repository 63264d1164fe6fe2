//! `swap` and `rollback`: another version of one handler, and back.

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
    /// The trial of the new version. `None`: it serves at once.
    pub trial: Option<TrialRequest>,
}

/// A trial as it is asked for. `None` stands for a default.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrialRequest {
    /// The share of the requests.
    pub percent: Percent,
    /// How long it lasts.
    pub time: Option<Duration>,
    /// How many requests the version has to answer.
    pub requests: Option<u64>,
    /// How much slower the version may be.
    pub slower: Option<Slower>,
}

/// How many times the 99th percentile of the version beside it a version may take. `None` compares no times.
pub type Slower = Option<u32>;

/// The variables of a trial.
const CANARY: &str = "CANARY";
const FOR: &str = "FOR";
const REQUESTS: &str = "REQUESTS";
const SLOWER: &str = "SLOWER";

/// The value of [`SLOWER`] that compares no times.
const NONE: &str = "none";

impl TrialRequest {
    /// Reads a share of the requests: `10` or `10%`.
    ///
    /// # Errors
    /// Says what was wanted.
    pub fn percent(text: &str) -> Result<Percent, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
        number.and_then(Percent::new).ok_or_else(|| "wanted 1% to 99%".to_owned())
    }

    /// Reads a number of requests.
    ///
    /// # Errors
    /// Says what was wanted.
    pub fn requests(text: &str) -> Result<u64, String> {
        within(text, 1..=1_000_000_000)
    }

    /// Reads how much slower a version may be: a factor, or `none`.
    ///
    /// # Errors
    /// Says what was wanted.
    pub fn slower(text: &str) -> Result<Slower, String> {
        match text {
            NONE => Ok(None),
            _ => within(text, 1..=1000).map(Some).map_err(|wanted| format!("{wanted}, or {NONE:?}")),
        }
    }

    /// Returns what the version has to stand.
    pub fn rules(&self) -> Rules {
        Rules {
            time: self.time.unwrap_or(Duration::from_secs(60)),
            requests: self.requests.unwrap_or(20),
            slower: self.slower.unwrap_or(Some(4)),
        }
    }
}

/// Reads a whole number of a range.
fn within<T: FromStr + PartialOrd + fmt::Display>(text: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("wanted a whole number from {} to {}", range.start(), range.end()))
}

impl SwapCommand {
    /// Reads the arguments and variables of a job.
    ///
    /// # Errors
    /// The usage, or which variable is malformed and what was wanted.
    pub fn decode(args: &[String], env: &Env) -> Result<SwapCommand> {
        let [name] = args else { bail!("usage: swap NAME < MODULE") };
        Ok(SwapCommand { name: name.parse()?, trial: trial(env)? })
    }
}

fn trial(env: &Env) -> Result<Option<TrialRequest>> {
    if env.get(CANARY).is_none() {
        // Without a trial there is nothing that they could mean.
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

/// Watches the trial of a handler to its end. The daemon itself runs this job, and it writes a line of text.
pub struct CanaryCommand {
    /// The handler.
    pub name: Name,
}

impl CanaryCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<CanaryCommand> {
        let [name] = args else { bail!("usage: canary NAME") };
        Ok(CanaryCommand { name: name.parse()? })
    }
}

impl Command for CanaryCommand {
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

/// What a swap has changed.
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
    pub generation: u64,
}

/// A trial that has begun.
#[derive(Serialize, Deserialize)]
pub struct BegunTrial {
    /// Its share of the requests.
    pub percent: u8,
    /// How long it lasts.
    pub for_ms: u64,
    /// How many requests the version has to answer.
    pub requests: u64,
    /// How many times the 99th percentile of the other version it may take; `null` compares no times.
    pub slower: Option<u32>,
    /// The job that watches it.
    pub job: String,
}

/// What a rollback has changed.
#[derive(Serialize, Deserialize)]
pub struct RollbackReply {
    /// The handler.
    pub handler: String,
    /// The version that serves no more, or was on trial.
    pub old: String,
    /// The version that serves.
    pub new: String,
    /// Whether it was a trial that ended; `null` if the version that served was replaced.
    pub trial: Option<TrialEnd>,
}

/// What a rollback did to a trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialEnd {
    /// It ended it.
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes what a command is encoded to.
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
