//! A key-value store over any back end: checked, bounded in time, and counted.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{timeout, timeout_at};

use super::counts::{Ended, OPERATIONS, Operation, OperationCounts};
use super::error::StoreError;
use super::limits::{self, StoreQuota};
use super::memory::Memory;
#[cfg(feature = "nats")]
use super::nats::Nats;
use super::rate_count::{RateCount, RateRequest};
use super::redb::Redb;
#[cfg(feature = "redis")]
use super::redis::Redis;
use super::url::StoreUrl;
use super::value::{Condition, Durability, KeyPage, Outcome, Swapped, Versioned, Write};
use crate::file_place::can_be_made;

/// The longest that an operation waits for its store. A server that needs more is down for its callers.
pub(super) const STORE_WAIT: Duration = Duration::from_secs(5);

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreOptions {
    /// The name in the configuration. On a server it is a part of every key.
    pub name: String,
    /// Where it is.
    pub url: StoreUrl,
    /// The most bytes that its entries count: key, value and [`PER_ENTRY`](super::PER_ENTRY) each.
    pub quota: u64,
    /// What an acknowledged write has survived, where the back end lets us choose.
    pub durability: Durability,
}

/// A store. Dropping it closes it; a file is then complete on disk.
pub struct KeyValue {
    backend: Backend,
    /// Boxed, as they take 8 KiB.
    counts: Box<[OperationCounts; OPERATIONS.len()]>,
}

/// Boxed, as the futures of its operations: what the clients of servers hold is large, and every job would pay for it.
pub(super) enum Backend {
    Memory(Memory),
    Redb(Redb),
    #[cfg(feature = "redis")]
    Redis(Box<Redis>),
    #[cfg(feature = "nats")]
    Nats(Box<Nats>),
}

impl KeyValue {
    /// Opens a store.
    ///
    /// # Errors
    /// The file cannot be used, or the server did not answer in time.
    pub async fn open(options: &StoreOptions) -> Result<KeyValue, StoreError> {
        KeyValue::open_within(options, StoreQuota::new(options.quota)).await
    }

    /// Opens a store with a quota that may change.
    ///
    /// # Errors
    /// Those of [`open`](KeyValue::open).
    pub(super) async fn open_within(
        options: &StoreOptions,
        quota: StoreQuota,
    ) -> Result<KeyValue, StoreError> {
        let StoreOptions { name, url, durability, .. } = options;
        let backend = match url {
            StoreUrl::Memory => Backend::Memory(Memory::new(quota)),
            StoreUrl::Redb(path) => Backend::Redb(Redb::open(path.clone(), *durability, quota).await?),
            #[cfg(feature = "redis")]
            StoreUrl::Redis(url) => {
                Backend::Redis(Box::new(Box::pin(patient(Redis::open(url, name, quota))).await?))
            }
            #[cfg(feature = "nats")]
            StoreUrl::Nats(url) => {
                Backend::Nats(Box::new(Box::pin(patient(Nats::open(url, name, quota))).await?))
            }
            #[cfg(not(all(feature = "redis", feature = "nats")))]
            url => {
                let why = format!("store {name}: this daemon was built without the back end of {url}");
                return Err(StoreError::Unavailable(why));
            }
        };
        Ok(KeyValue { backend, counts: Default::default() })
    }

    /// Checks whether a store can be opened. Makes and changes nothing.
    ///
    /// # Errors
    /// The file is damaged, or cannot be made; the server did not answer in time, or holds something else.
    pub(super) async fn examine(options: &StoreOptions) -> Result<(), StoreError> {
        match &options.url {
            StoreUrl::Redb(path) if !path.exists() => can_be_made(path)
                .map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display()))),
            StoreUrl::Redb(path) => {
                let path = path.clone();
                let examined = tokio::task::spawn_blocking(move || super::redb::examine(&path)).await;
                let ended = |error| StoreError::Unavailable(format!("the check was ended: {error}"));
                examined.unwrap_or_else(|error| Err(ended(error)))
            }
            #[cfg(feature = "nats")]
            StoreUrl::Nats(url) => Box::pin(patient(super::nats::examine(url, &options.name))).await,
            _ => KeyValue::open(options).await.map(drop),
        }
    }

    /// Returns the bytes of all entries, as the quota counts them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn used(&self) -> Result<u64, StoreError> {
        let used = async {
            match &self.backend {
                Backend::Memory(memory) => Ok(memory.used()),
                Backend::Redb(redb) => redb.used().await,
                #[cfg(feature = "redis")]
                Backend::Redis(redis) => Box::pin(redis.used()).await,
                #[cfg(feature = "nats")]
                Backend::Nats(nats) => Box::pin(nats.used()).await,
            }
        };
        patient(used).await
    }

    /// Closes a file, so that another process can open it. What is queued is written first; later operations fail. Does
    /// not block.
    pub(super) fn close(&self) {
        if let Backend::Redb(redb) = &self.backend {
            redb.close();
        }
    }

    /// Returns the back end, for listings of all entries.
    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Returns what is counted of an operation.
    pub fn counts(&self, operation: Operation) -> &OperationCounts {
        &self.counts[operation as usize]
    }

    /// Returns the time that writes to a file have waited until their commits began. Zero for any other back end.
    pub fn waited(&self) -> Duration {
        if let Backend::Redb(redb) = &self.backend { redb.waited() } else { Duration::ZERO }
    }

    /// Returns the value of a key and its version.
    ///
    /// # Errors
    /// The key is out of bounds, or the store cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let start = Instant::now();
        let found = match (limits::key(key), &self.backend) {
            (Err(error), _) => Err(error),
            // The first two wait for nothing, so that they need no timer.
            (Ok(()), Backend::Memory(memory)) => Ok(memory.get(key)),
            (Ok(()), Backend::Redb(redb)) => redb.get(key),
            #[cfg(feature = "redis")]
            (Ok(()), Backend::Redis(redis)) => Box::pin(patient(redis.get(key))).await,
            #[cfg(feature = "nats")]
            (Ok(()), Backend::Nats(nats)) => Box::pin(patient(nats.get(key))).await,
        };
        self.count(Operation::Get, start, &found, |_| Ended::Done);
        found
    }

    /// Sets a value under a condition. A time to live that is left out ends an earlier one.
    ///
    /// # Errors
    /// Key, value or time to live are out of bounds, the quota is reached, or the store cannot be written.
    pub async fn set(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        condition: Condition,
    ) -> Result<Swapped, StoreError> {
        let operation = match condition {
            Condition::Always => Operation::Set,
            Condition::Absent | Condition::Version(_) => Operation::Swap,
        };
        let set = async {
            limits::key(key)?;
            limits::value(&value)?;
            let ttl_ms = limits::ttl_ms(ttl)?;
            match self.write(Write::Set { key: key.to_owned(), value, ttl_ms, condition }).await? {
                Outcome::Swapped(swapped) => Ok(swapped),
                outcome => Err(unexpected(&outcome)),
            }
        };
        let ended = |swapped: &Swapped| match swapped {
            Swapped::Written(_) => Ended::Done,
            Swapped::Stale(_) => Ended::Conflict,
        };
        self.counted(operation, set, ended).await
    }

    /// Deletes a key and returns whether it had a value.
    ///
    /// # Errors
    /// The key is out of bounds, or the store cannot be written.
    pub async fn delete(&self, key: &str) -> Result<bool, StoreError> {
        let delete = async {
            limits::key(key)?;
            match self.write(Write::Delete { key: key.to_owned() }).await? {
                Outcome::Deleted(existed) => Ok(existed),
                outcome => Err(unexpected(&outcome)),
            }
        };
        self.counted(Operation::Delete, delete, |_| Ended::Done).await
    }

    /// Adds to a number, which is decimal text, and returns the sum. A key without a value counts as 0.
    ///
    /// # Errors
    /// The value is no number, the sum does not fit into 64 bits, or the store cannot be written.
    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        let increment = async {
            limits::key(key)?;
            match self.write(Write::Increment { key: key.to_owned(), delta }).await? {
                Outcome::Sum(sum) => Ok(sum),
                outcome => Err(unexpected(&outcome)),
            }
        };
        self.counted(Operation::Increment, increment, |_| Ended::Done).await
    }

    /// Lists keys that begin with a prefix, behind a cursor, at most `limit` of them.
    ///
    /// # Errors
    /// Prefix or cursor are out of bounds, or the store cannot be read.
    pub async fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, StoreError> {
        let list = async {
            [Some(prefix), cursor]
                .into_iter()
                .flatten()
                .filter(|key| !key.is_empty())
                .try_for_each(limits::key)?;
            let limit = limit.clamp(1, limits::MAX_PAGE);
            match &self.backend {
                Backend::Memory(memory) => Ok(memory.list(prefix, cursor, limit)),
                Backend::Redb(redb) => redb.list(prefix, cursor, limit).await,
                #[cfg(feature = "redis")]
                Backend::Redis(redis) => Box::pin(redis.list(prefix, cursor, limit)).await,
                #[cfg(feature = "nats")]
                Backend::Nats(nats) => Box::pin(nats.list(prefix, cursor, limit)).await,
            }
        };
        self.counted(Operation::List, list, |_| Ended::Done).await
    }

    /// Returns the values of keys, in their order.
    ///
    /// # Errors
    /// The batch is out of bounds, or the store cannot be read.
    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, StoreError> {
        let get = async {
            limits::batch(keys.iter().map(String::as_str), 0)?;
            match &self.backend {
                Backend::Memory(memory) => memory.get_many(keys),
                Backend::Redb(redb) => redb.get_many(keys).await,
                #[cfg(feature = "redis")]
                Backend::Redis(redis) => Box::pin(redis.get_many(keys)).await,
                #[cfg(feature = "nats")]
                Backend::Nats(nats) => Box::pin(nats.get_many(keys)).await,
            }
        };
        self.counted(Operation::Batch, get, |_| Ended::Done).await
    }

    /// Sets several values. All of them or none, except on NATS, where each is whole.
    ///
    /// # Errors
    /// The batch is out of bounds, the quota is reached, or the store cannot be written.
    pub async fn set_many(&self, entries: Vec<(String, Bytes)>) -> Result<(), StoreError> {
        let set = async {
            let bytes = entries.iter().map(|(_, value)| value.len()).sum();
            limits::batch(entries.iter().map(|(key, _)| key.as_str()), bytes)?;
            entries.iter().try_for_each(|(_, value)| limits::value(value))?;
            self.write(Write::SetMany(entries)).await.map(drop)
        };
        self.counted(Operation::Batch, set, |()| Ended::Done).await
    }

    /// Deletes several keys.
    ///
    /// # Errors
    /// The batch is out of bounds, or the store cannot be written.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let delete = async {
            limits::batch(keys.iter().map(String::as_str), 0)?;
            self.write(Write::DeleteMany(keys)).await.map(drop)
        };
        self.counted(Operation::Batch, delete, |()| Ended::Done).await
    }

    /// Counts a request against a rate limit, until a time.
    ///
    /// # Errors
    /// The store is of this daemon alone or cannot count in one step, or it does not answer in time.
    pub(super) async fn count_rate(
        &self,
        request: RateRequest<'_>,
        until: tokio::time::Instant,
    ) -> Result<RateCount, StoreError> {
        let count = async {
            match &self.backend {
                #[cfg(feature = "redis")]
                Backend::Redis(redis) => Box::pin(redis.count_rate(request)).await,
                Backend::Memory(_) | Backend::Redb(_) => Err(no_rates(&request)),
                #[cfg(feature = "nats")]
                Backend::Nats(_) => Err(no_rates(&request)),
            }
        };
        let count = async { timeout_at(until, count).await.unwrap_or(Err(StoreError::Timeout)) };
        self.counted(Operation::Rate, count, |_| Ended::Done).await
    }

    async fn write(&self, write: Write) -> Result<Outcome, StoreError> {
        match &self.backend {
            Backend::Memory(memory) => memory.write(&write),
            Backend::Redb(redb) => redb.write(write).await,
            #[cfg(feature = "redis")]
            Backend::Redis(redis) => Box::pin(redis.write(write)).await,
            #[cfg(feature = "nats")]
            Backend::Nats(nats) => Box::pin(nats.write(write)).await,
        }
    }

    /// Runs an operation within its time, and counts it.
    async fn counted<T>(
        &self,
        operation: Operation,
        run: impl Future<Output = Result<T, StoreError>>,
        ended: impl FnOnce(&T) -> Ended,
    ) -> Result<T, StoreError> {
        let start = Instant::now();
        let outcome = patient(run).await;
        self.count(operation, start, &outcome, ended);
        outcome
    }

    /// Counts an operation that has ended.
    fn count<T>(
        &self,
        operation: Operation,
        start: Instant,
        outcome: &Result<T, StoreError>,
        ended: impl FnOnce(&T) -> Ended,
    ) {
        let ended = match outcome {
            Ok(value) => ended(value),
            Err(error) if error.is_outage() => Ended::Outage,
            Err(_) => Ended::Refused,
        };
        self.counts[operation as usize].count(ended, start.elapsed());
    }
}

/// Ends an operation that takes too long.
pub(super) async fn patient<T>(run: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(STORE_WAIT, run).await.unwrap_or(Err(StoreError::Timeout))
}

/// A configuration names no such store for a limit.
fn no_rates(request: &RateRequest<'_>) -> StoreError {
    StoreError::Invalid(format!("it cannot count requests: {}", request.limit))
}

/// A back end gave the outcome of another operation.
fn unexpected(outcome: &Outcome) -> StoreError {
    debug_assert!(false, "{outcome:?}");
    StoreError::Unavailable("internal error: the outcome of another operation".to_owned())
}
