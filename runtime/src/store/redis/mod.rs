//! `redis://HOST:PORT/DATABASE`: every operation is one script, which the server runs as a whole.
//!
//! WATCH and MULTI would need a connection for each swap, and as many round trips as it has rivals. KEYS and SCAN walk
//! the whole database; a sorted set gives the keys of one store in order. Expiry is ours, because the server's own
//! would take entries away without telling the quota.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, FromRedisValue, RedisError, Script, ScriptInvocation};
use tokio::runtime::Handle;

use super::error::StoreError;
use super::limits::{self, MAX_BATCH_BYTES, PER_ENTRY, StoreQuota};
use super::rate_count::{RateCount, RateRequest};
use super::room::WriteRooms;
use super::value::{Condition, KeyPage, Outcome, Swapped, Versioned, Write, prefix_end};
use super::work;
use crate::runtime_context::polled_in;

/// The longest wait for a connection.
const REDIS_CONNECT: Duration = Duration::from_secs(2);

/// The longest wait for an answer: below the time of an operation, so that the error names its cause.
const REDIS_ANSWER: Duration = Duration::from_secs(4);

/// The longest time between two attempts to connect.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// The most commands that wait to be sent, each as large as a batch at most. They stay in memory when their job ends.
const AHEAD: usize = 8;

/// A store in a Redis server. All operations share one connection, which is made again when it breaks.
pub(super) struct Redis {
    connection: ConnectionManager,
    /// The runtime in which the store was opened.
    home: Handle,
    quota: StoreQuota,
    rooms: WriteRooms,
    write: Script,
    read: Script,
    rate: Script,
    /// The names of what the store has in the server.
    meta: String,
    index: String,
    expiry: String,
    entries: String,
    rates: String,
}

impl Redis {
    /// Connects to the server.
    ///
    /// # Errors
    /// It cannot be reached, or refuses the credentials.
    pub(super) async fn open(url: &str, name: &str, quota: StoreQuota) -> Result<Redis, StoreError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(REDIS_CONNECT))
            .set_response_timeout(Some(REDIS_ANSWER))
            .set_max_delay(MAX_DELAY)
            .set_pipeline_buffer_size(AHEAD)
            .set_number_of_retries(1);
        let client = Client::open(url).map_err(|error| unavailable(&error))?;
        let connection =
            ConnectionManager::new_with_config(client, config).await.map_err(|error| unavailable(&error))?;
        // The braces keep all keys of a store on one node of a cluster.
        let key = |part: &str| format!("portcullis:{{{name}}}:{part}");
        Ok(Redis {
            connection,
            home: Handle::current(),
            quota,
            rooms: WriteRooms::new(),
            write: Script::new(include_str!("write.lua")),
            read: Script::new(include_str!("read.lua")),
            rate: Script::new(include_str!("rate.lua")),
            meta: key("meta"),
            index: key("index"),
            expiry: key("expiry"),
            entries: key("entry:"),
            rates: key("rate:"),
        })
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, RedisError> {
        let mut connection = self.connection.clone();
        // The scripts are told apart by their digest; the server keeps them until it restarts.
        let answer = pin!(script.invoke_async(&mut connection));
        // An operation that finds the connection broken makes it again. Within the file threads of a job, no name could be
        // looked up, and the connection would end with the threads.
        polled_in(Some(&self.home), answer).await
    }

    fn reading(&self) -> ScriptInvocation<'_> {
        let mut script = self.read.prepare_invoke();
        script.key(&self.index).key(&self.expiry).arg(&self.entries);
        script
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let mut values = self.get_many(&[key.to_owned()]).await?;
        Ok(values.pop().flatten())
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, StoreError> {
        let mut script = self.reading();
        script.arg("get").arg(MAX_BATCH_BYTES);
        for key in keys {
            script.arg(key);
        }
        let values: Vec<Vec<Vec<u8>>> = self.run(&script).await.map_err(|error| match error.code() {
            Some("TOOLARGE") => limits::too_many_read(),
            _ => unavailable(&error),
        })?;
        values.into_iter().map(|value| versioned(value.into_iter())).collect()
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, StoreError> {
        let from = match after {
            Some(after) if after >= prefix => [b"(", after.as_bytes()].concat(),
            _ => [b"[", prefix.as_bytes()].concat(),
        };
        let to = prefix_end(prefix).map_or_else(|| b"+".to_vec(), |end| [b"(", &*end].concat());
        let mut script = self.reading();
        script.arg("list").arg(from).arg(to).arg(limit);
        let (keys, cursor) = self.run(&script).await.map_err(|error| unavailable(&error))?;
        Ok(KeyPage { keys, cursor })
    }

    /// Returns the bytes of all entries, as the quota counts them.
    pub(super) async fn used(&self) -> Result<u64, StoreError> {
        let mut script = self.reading();
        script.arg("used").arg(&self.meta);
        self.run(&script).await.map_err(|error| unavailable(&error))
    }

    /// Counts a request against a limit of all daemons.
    pub(super) async fn count_rate(&self, request: RateRequest<'_>) -> Result<RateCount, StoreError> {
        let RateRequest { limit, client, interval_us, burst, seed } = request;
        let mut script = self.rate.prepare_invoke();
        script.key(format!("{}{limit}", self.rates));
        script.arg(client).arg(interval_us.to_string()).arg(burst).arg(seed);
        let (is_admitted, number): (bool, u64) =
            self.run(&script).await.map_err(|error| unavailable(&error))?;
        Ok(match is_admitted {
            true => RateCount::Admitted { requests: u32::try_from(number).unwrap_or(u32::MAX) },
            false => RateCount::Refused { retry_after: Duration::from_micros(number) },
        })
    }

    pub(super) async fn write(&self, write: Write) -> Result<Outcome, StoreError> {
        let _share = self.rooms.enter(write.bytes(), work::line()).await;
        let quota = self.quota.get();
        let mut script = self.write.prepare_invoke();
        script
            .key(&self.meta)
            .key(&self.index)
            .key(&self.expiry)
            .arg(&self.entries)
            .arg(quota)
            .arg(PER_ENTRY);
        match &write {
            Write::Set { key, value, ttl_ms, condition } => {
                let ttl = ttl_ms.map(|ttl| ttl.to_string()).unwrap_or_default();
                let condition = match condition {
                    Condition::Always => "always".to_owned(),
                    Condition::Absent => "absent".to_owned(),
                    Condition::Version(version) => version.to_string(),
                };
                script.arg("set").arg(key).arg(&**value).arg(ttl).arg(condition);
            }
            Write::Delete { key } => {
                script.arg("delete").arg(key);
            }
            Write::Increment { key, delta } => {
                script.arg("increment").arg(key).arg(delta);
            }
            Write::SetMany(entries) => {
                script.arg("set_many");
                let entries: BTreeMap<&String, &Bytes> =
                    entries.iter().map(|(key, value)| (key, value)).collect();
                for (key, value) in entries {
                    script.arg(key).arg(&**value);
                }
            }
            Write::DeleteMany(keys) => {
                script.arg("delete");
                for key in keys {
                    script.arg(key);
                }
            }
        }
        let reply: Vec<Vec<u8>> = self.run(&script).await.map_err(|error| interrupted(&error))?;
        let mut reply = reply.into_iter();
        let outcome = reply.next().unwrap_or_default();
        match &*outcome {
            b"written" => {
                let version = reply.next().and_then(number).ok_or_else(malformed)?;
                Ok(Outcome::Swapped(Swapped::Written(version)))
            }
            b"stale" => Ok(Outcome::Swapped(Swapped::Stale(versioned(reply)?))),
            b"sum" => Ok(Outcome::Sum(reply.next().and_then(number).ok_or_else(malformed)?)),
            b"deleted" | b"absent" if matches!(write, Write::DeleteMany(_)) => Ok(Outcome::Done),
            b"deleted" => Ok(Outcome::Deleted(true)),
            b"absent" => Ok(Outcome::Deleted(false)),
            b"done" => Ok(Outcome::Done),
            b"quota" => Err(StoreError::QuotaExceeded { quota }),
            b"not_a_number" => Err(StoreError::NotANumber),
            b"overflow" => Err(StoreError::Overflow),
            _ => Err(malformed()),
        }
    }
}

/// Reads a value, its version and when it expires. Nothing stands for an absent value.
fn versioned(mut fields: impl Iterator<Item = Vec<u8>>) -> Result<Option<Versioned>, StoreError> {
    let Some(value) = fields.next() else { return Ok(None) };
    let version = fields.next().and_then(number).ok_or_else(malformed)?;
    let expires_ms = fields.next().filter(|text| !text.is_empty());
    let expires_ms = expires_ms.map(|text| number(text).ok_or_else(malformed)).transpose()?;
    Ok(Some(Versioned { value: value.into(), version, expires_ms }))
}

fn number<N: std::str::FromStr>(text: Vec<u8>) -> Option<N> {
    String::from_utf8(text).ok()?.parse().ok()
}

fn malformed() -> StoreError {
    StoreError::Corrupt(
        "the server holds something else under the names of this store: choose another database".to_owned(),
    )
}

/// Converts an error of a read, or of a connection that was not made.
fn unavailable(error: &RedisError) -> StoreError {
    // A timeout says little; what the server says names the cause.
    StoreError::Unavailable(error.to_string())
}

/// Answers with which the server refuses a script before its first write: for want of memory, disk or replicas, or while
/// another script runs.
const REFUSALS: [&str; 4] = ["OOM", "MISCONF", "NOREPLICAS", "BUSY"];

/// Converts an error of a write. Only an answer of the server, or a connection that was refused, means that nothing
/// was written.
fn interrupted(error: &RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::AuthenticationFailed => unavailable(error),
        _ if error.is_connection_refusal() => unavailable(error),
        _ if error.code().is_some_and(|code| REFUSALS.contains(&code)) => unavailable(error),
        _ => StoreError::Interrupted(error.to_string()),
    }
}
