//! `stores`, `storelist`, `storeget` and the other jobs on stores: the commands, and the replies.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::arguments::Arguments;
use super::command::{Command, call};
use super::stored::StoredValue;
use crate::config;
use crate::http::client::JobCall;
use crate::job::{AdminQuota, OnDrain, Policy, builtin};

/// Lists the stores.
pub struct StoresCommand;

impl Command for StoresCommand {
    const NAME: &'static str = builtin::STORES;
    const POLICY: Policy = Policy::LOOK;
    type Reply = Vec<StoreReport>;
}

/// A store of the configuration.
#[derive(Serialize, Deserialize)]
pub struct StoreReport {
    /// Its name.
    pub name: String,
    /// Where it is, without credentials.
    pub url: String,
    /// Bytes that its entries count towards the quota; `null` if it cannot be asked.
    pub used: Option<u64>,
    /// The quota in bytes.
    pub quota: u64,
    /// Why it cannot be used; `null` if it can.
    pub error: Option<String>,
    /// The handlers that are granted it, with their name for it if that is another.
    pub granted: Vec<String>,
}

/// Lists keys of a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreListCommand {
    /// The store.
    pub store: String,
    /// What the keys begin with.
    pub prefix: String,
    /// The key behind which the page begins. `None` for the first page.
    pub after: Option<String>,
    /// The most keys of the page. `None` for as many as a page has.
    pub limit: Option<usize>,
}

impl StoreListCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<StoreListCommand> {
        const USAGE: &str = "usage: storelist NAME [PREFIX] [--after KEY] [--limit N]";
        let mut args = Arguments::of(args, &[], USAGE)?;
        let command = StoreListCommand {
            after: args.option("--after"),
            limit: args.option("--limit").map(|limit| limit.parse().context(USAGE)).transpose()?,
            store: args.word()?,
            prefix: args.optional().unwrap_or_default(),
        };
        args.end()?;
        Ok(command)
    }
}

impl Command for StoreListCommand {
    const NAME: &'static str = builtin::STORE_LIST;
    const POLICY: Policy = Policy::LOOK;
    type Reply = StoreListReply;

    fn encode(&self) -> JobCall {
        let after = self.after.iter().flat_map(|after| ["--after".to_owned(), after.clone()]);
        let limit = self.limit.iter().flat_map(|limit| ["--limit".to_owned(), limit.to_string()]);
        // Behind `--` a prefix may begin with a dash.
        let rest = ["--".to_owned(), self.store.clone(), self.prefix.clone()];
        call::<Self>(after.chain(limit).chain(rest))
    }
}

/// A page of keys.
#[derive(Serialize, Deserialize)]
pub struct StoreListReply {
    /// The keys, in the order of their bytes. A page may be empty although more keys follow.
    pub keys: Vec<String>,
    /// The key behind which the next page begins; `null` at the end.
    pub cursor: Option<String>,
}

/// Reads the value of a key.
pub struct StoreGetCommand {
    /// The store.
    pub store: String,
    /// The key.
    pub key: String,
}

impl StoreGetCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<StoreGetCommand> {
        let [store, key] = args else { bail!("usage: storeget NAME KEY") };
        Ok(StoreGetCommand { store: store.clone(), key: key.clone() })
    }
}

impl Command for StoreGetCommand {
    const NAME: &'static str = builtin::STORE_GET;
    const POLICY: Policy = Policy::LOOK;
    type Reply = StoreGetReply;

    fn encode(&self) -> JobCall {
        call::<Self>([&self.store, &self.key].map(Clone::clone))
    }
}

/// The value of a key.
#[derive(Serialize, Deserialize)]
pub struct StoreGetReply {
    /// The key.
    pub key: String,
    /// The value, as text or in base64.
    #[serde(flatten)]
    pub value: StoredValue,
    /// The version of the value, for `storeset --version`.
    pub version: u64,
    /// When it expires, in RFC 3339; `null` if it does not.
    pub expires: Option<String>,
}

/// Sets a key to the input of the job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreSetCommand {
    /// The store.
    pub store: String,
    /// The key.
    pub key: String,
    /// The time to live. `None` for ever.
    pub ttl: Option<Duration>,
    /// The condition under which the value is written.
    pub condition: SetCondition,
}

/// When a key is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetCondition {
    /// Always.
    Always,
    /// If it has no value.
    Absent,
    /// If its value has this version.
    Version(u64),
}

impl StoreSetCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<StoreSetCommand> {
        const USAGE: &str = "usage: storeset NAME KEY [--ttl TIME] [--if-absent | --version N]";
        let mut args = Arguments::of(args, &["--if-absent"], USAGE)?;
        let ttl = args.option("--ttl").map(|ttl| config::duration(&ttl).context("--ttl")).transpose()?;
        let version = args.option("--version").map(|version| version.parse().context(USAGE)).transpose()?;
        let condition = match (args.flag("--if-absent"), version) {
            (true, None) => SetCondition::Absent,
            (false, Some(version)) => SetCondition::Version(version),
            (false, None) => SetCondition::Always,
            (true, Some(_)) => bail!(USAGE),
        };
        let (store, key) = (args.word()?, args.word()?);
        args.end()?;
        Ok(StoreSetCommand { store, key, ttl, condition })
    }
}

impl Command for StoreSetCommand {
    const NAME: &'static str = builtin::STORE_SET;
    const POLICY: Policy = Policy { on_drain: OnDrain::Wait, ..Policy::LOOK };
    type Reply = StoreSetReply;

    fn encode(&self) -> JobCall {
        let ttl = self.ttl.iter().flat_map(|ttl| ["--ttl".to_owned(), format!("{}ms", ttl.as_millis())]);
        let condition = match self.condition {
            SetCondition::Always => Vec::new(),
            SetCondition::Absent => vec!["--if-absent".to_owned()],
            SetCondition::Version(version) => vec!["--version".to_owned(), version.to_string()],
        };
        let rest = ["--".to_owned(), self.store.clone(), self.key.clone()];
        call::<Self>(ttl.chain(condition).chain(rest))
    }
}

/// The write that was done.
#[derive(Serialize, Deserialize)]
pub struct StoreSetReply {
    /// The version of the value.
    pub version: u64,
}

/// Deletes keys.
pub struct StoreDeleteCommand {
    /// The store.
    pub store: String,
    /// The keys.
    pub keys: Vec<String>,
}

impl StoreDeleteCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<StoreDeleteCommand> {
        let [store, keys @ ..] = args else { bail!("usage: storedelete NAME KEY...") };
        ensure!(!keys.is_empty(), "usage: storedelete NAME KEY...");
        Ok(StoreDeleteCommand { store: store.clone(), keys: keys.to_vec() })
    }
}

impl Command for StoreDeleteCommand {
    const NAME: &'static str = builtin::STORE_DELETE;
    const POLICY: Policy = Policy { on_drain: OnDrain::Wait, ..Policy::LOOK };
    type Reply = StoreDeleteReply;

    fn encode(&self) -> JobCall {
        call::<Self>(std::iter::once(&self.store).chain(&self.keys).cloned())
    }
}

/// The keys that were deleted.
#[derive(Serialize, Deserialize)]
pub struct StoreDeleteReply {
    /// The number of keys that had a value.
    pub deleted: usize,
}

/// Writes all entries of a store, one JSON object a line: a [`DumpedEntry`](super::DumpedEntry).
pub struct StoreDumpCommand {
    /// The store.
    pub store: String,
    /// What the keys begin with.
    pub prefix: String,
}

impl StoreDumpCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<StoreDumpCommand> {
        let (store, prefix) = match args {
            [store] => (store, String::new()),
            [store, prefix] => (store, prefix.clone()),
            _ => bail!("usage: storedump NAME [PREFIX]"),
        };
        Ok(StoreDumpCommand { store: store.clone(), prefix })
    }
}

impl Command for StoreDumpCommand {
    const NAME: &'static str = builtin::STORE_DUMP;
    const POLICY: Policy = Policy { admin_quota: AdminQuota::LongLived, ..Policy::LOOK };
    type Reply = ();

    fn encode(&self) -> JobCall {
        call::<Self>([&self.store, &self.prefix].map(Clone::clone))
    }
}

/// Writes the entries of a dump, which is the input of the job, to a store.
pub struct StoreLoadCommand {
    /// The store.
    pub store: String,
}

impl StoreLoadCommand {
    /// Reads the arguments of a job.
    ///
    /// # Errors
    /// The usage.
    pub fn decode(args: &[String]) -> Result<StoreLoadCommand> {
        let [store] = args else { bail!("usage: storeload NAME, with the dump on stdin") };
        Ok(StoreLoadCommand { store: store.clone() })
    }
}

impl Command for StoreLoadCommand {
    const NAME: &'static str = builtin::STORE_LOAD;
    const POLICY: Policy = Policy::WORK;
    type Reply = StoreLoadReply;

    fn encode(&self) -> JobCall {
        call::<Self>([self.store.clone()])
    }
}

/// The entries that were written.
#[derive(Serialize, Deserialize)]
pub struct StoreLoadReply {
    /// The number of entries that were written.
    pub loaded: u64,
    /// The number of entries that had expired since the dump, and were left out.
    pub expired: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_decoded_as_it_was_encoded() {
        for (ttl, condition) in [
            (None, SetCondition::Always),
            (Some(Duration::from_millis(1500)), SetCondition::Absent),
            (None, SetCondition::Version(u64::MAX)),
        ] {
            let command =
                StoreSetCommand { store: "carts".to_owned(), key: "--ttl".to_owned(), ttl, condition };
            assert_eq!(StoreSetCommand::decode(&command.encode().args).unwrap(), command);
        }
        let command = StoreListCommand {
            store: "carts".to_owned(),
            prefix: "-".to_owned(),
            after: Some("--".to_owned()),
            limit: Some(7),
        };
        assert_eq!(StoreListCommand::decode(&command.encode().args).unwrap(), command);
    }

    #[test]
    fn wrong_arguments_get_the_usage() {
        let args = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for wrong in
            ["", "a", "a b c", "a b --ttl", "a b --if-absent --version 1", "a b --version x", "a b --x y"]
        {
            assert!(StoreSetCommand::decode(&args(wrong)).is_err(), "{wrong}");
        }
        for wrong in ["", "a b c", "a --limit x"] {
            assert!(StoreListCommand::decode(&args(wrong)).is_err(), "{wrong}");
        }
    }
}
