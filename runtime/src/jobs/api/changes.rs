//! `plan` and `reload`: the commands, and the replies that list the changes.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::command::{Command, call};
use crate::http::client::JobCall;
use crate::job::{OnDrain, Policy, builtin};

/// Compares a configuration with the live one.
pub enum PlanCommand {
    /// A file, which the daemon reads.
    File(String),
    /// The input of the job. Relative paths in it start at this directory.
    Stdin(String),
}

/// The argument that stands for the input of the job.
const STDIN: &str = "-";

impl PlanCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<PlanCommand> {
        Ok(match args {
            [dash] if dash == STDIN => PlanCommand::Stdin(".".to_owned()),
            [dash, dir] if dash == STDIN => PlanCommand::Stdin(dir.clone()),
            [file] => PlanCommand::File(file.clone()),
            _ => bail!("usage: plan FILE, or plan - [DIR] with the text on stdin"),
        })
    }
}

impl Command for PlanCommand {
    const NAME: &'static str = builtin::PLAN;
    const POLICY: Policy = Policy { on_drain: OnDrain::Ignore, ..Policy::CHANGE };
    type Reply = PlanReply;

    fn encode(&self) -> JobCall {
        match self {
            PlanCommand::File(file) => call::<Self>([file.clone()]),
            PlanCommand::Stdin(dir) => call::<Self>([STDIN.to_owned(), dir.clone()]),
        }
    }
}

/// Reads the configuration again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReloadCommand {
    /// All of it.
    Everything,
    /// The secrets alone. All else stays as it was loaded.
    Secrets,
}

impl ReloadCommand {
    const SECRETS: &str = "--secrets";

    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<ReloadCommand> {
        Ok(match args {
            [] => ReloadCommand::Everything,
            [only] if only == ReloadCommand::SECRETS => ReloadCommand::Secrets,
            _ => bail!("usage: reload [{}]", ReloadCommand::SECRETS),
        })
    }
}

impl Command for ReloadCommand {
    const NAME: &'static str = builtin::RELOAD;
    const POLICY: Policy = Policy::CHANGE;
    /// The reply to [`ReloadCommand::Everything`].
    type Reply = ReloadReply;

    fn encode(&self) -> JobCall {
        let only = (*self == ReloadCommand::Secrets).then(|| ReloadCommand::SECRETS.to_owned());
        call::<Self>(only)
    }
}

/// The changes that a reload would make.
#[derive(Serialize, Deserialize)]
pub struct PlanReply {
    /// The changes.
    #[serde(flatten)]
    pub changes: ChangesReport,
    /// The warnings that a reload would log, such as about a store that cannot be reached.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Why a reload would be refused; empty if it would succeed.
    pub refused: Vec<String>,
}

/// The changes that a reload has made.
#[derive(Serialize, Deserialize)]
pub struct ReloadReply {
    /// The generation that serves now.
    pub generation: u64,
    /// The number of its handlers.
    pub handlers: usize,
    /// The number of its routes.
    pub routes: usize,
    /// The changes.
    pub changes: ChangesReport,
}

/// The changes that a reload of the secrets has made.
#[derive(Serialize, Deserialize)]
pub struct RefreshReply {
    /// The generation that serves now.
    pub generation: u64,
    /// The handlers whose secrets have changed.
    pub refreshed: Vec<String>,
}

/// The differences between two configurations and their catalogs.
#[derive(Default, Serialize, Deserialize)]
pub struct ChangesReport {
    /// The listeners of clients.
    pub listen: Vec<ChangedListener>,
    /// The certificates, a line for each difference.
    pub tls: Vec<String>,
    /// Whether the table `cors` differs.
    pub cors_changed: bool,
    /// The keys of other settings that a reload changes.
    pub settings: Vec<String>,
    /// Directories and files that were replaced at the same path, and files whose content has changed, a line each.
    #[serde(default)]
    pub reopened: Vec<String>,
    /// The keys that only a restart changes.
    #[serde(default)]
    pub needs_restart: Vec<String>,
    /// The handlers.
    pub handlers: Vec<ChangedHandler>,
    /// The stores.
    #[serde(default)]
    pub stores: Vec<ChangedStore>,
    /// The routes.
    pub routes: Vec<ChangedRoute>,
    /// The trials that end.
    pub trials_ended: Vec<EndedTrial>,
    /// The mounts, and the directories that routes serve, whose path leads elsewhere, because a handler may write there, a
    /// line each. They keep the directories that were loaded.
    #[serde(default)]
    pub displaced: Vec<String>,
    /// The migrations that are applied, as `DATABASE: FILE`.
    #[serde(default)]
    pub migrations: Vec<String>,
}

/// How a part of the configuration changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// It is new.
    Added,
    /// It is removed.
    Removed,
    /// It differs. Words of newer daemons are read as this.
    #[serde(other)]
    Changed,
}

/// A listener that is added or removed.
#[derive(Serialize, Deserialize)]
pub struct ChangedListener {
    /// The address.
    pub endpoint: String,
    /// How it changes.
    pub change: Difference,
}

/// A handler that is added, removed or changed.
#[derive(Serialize, Deserialize)]
pub struct ChangedHandler {
    /// Its name.
    pub name: String,
    /// How it changes.
    pub change: Difference,
    /// The settings that differ, a line each.
    pub what: Vec<String>,
}

/// A store that is added, removed or changed.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangedStore {
    /// Its name.
    pub name: String,
    /// How it changes.
    pub change: Difference,
    /// The place of an added store, or the settings of a changed store that differ, a line each.
    pub what: Vec<String>,
}

/// A route that is added or removed.
#[derive(Serialize, Deserialize)]
pub struct ChangedRoute {
    /// The route and its handler, on one line.
    pub route: String,
    /// How it changes.
    pub change: Difference,
}

/// A trial that ends.
#[derive(Serialize, Deserialize)]
pub struct EndedTrial {
    /// The handler.
    pub handler: String,
    /// The version on trial.
    pub version: String,
    /// Its share of the requests.
    pub percent: u8,
}
