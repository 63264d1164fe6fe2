//! `nats://HOST:PORT`: a JetStream key-value bucket. The version of an entry is the sequence number of its message.
//!
//! Every change that depends on the present value names the sequence that it expects, and the server refuses it if
//! another came first. `set` without a condition needs no such thing. Deleting leaves a marker, so that the order of
//! changes is kept, and then purges it.

mod subject;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::time::Duration;

use async_nats::connection::State as ConnectionState;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectOptions, HeaderMap, header};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::{Mutex, MutexGuard};

use super::error::StoreError;
use super::rows::{self, is_live};
use super::value::{Condition, KeyPage, Outcome, Swapped, Versioned, Write, decimal};

/// The longest wait for an answer: below the time of an operation, so that the error names its cause.
const ANSWER: Duration = Duration::from_secs(4);

/// Requests that one operation has under way at once.
const AT_ONCE: usize = 16;

/// Locks that spare writers of one key their rivals within this daemon.
const TURNS: usize = 64;

/// The header with the time at which an entry expires, in milliseconds since 1970.
const EXPIRES: &str = "Portcullis-Expires";

/// The header that marks an entry as deleted, as NATS's own clients write it.
const OPERATION: &str = "KV-Operation";

/// A store in a NATS server.
pub(super) struct Nats {
    client: Client,
    jetstream: Context,
    bucket: Stream<()>,
    /// What all subjects of the store begin with.
    root: String,
    quota: u64,
    turns: [Mutex<()>; TURNS],
}

/// The last message of a key: an entry, or what is left of one.
struct Last {
    /// `None` if it is deleted or expired.
    value: Option<Versioned>,
    /// 0 if there was never an entry.
    sequence: u64,
    expires: u64,
}

/// Why a message was not stored.
enum Refused {
    /// The key has another sequence than was expected.
    Stale,
    Full,
    Failed(StoreError),
}

impl Nats {
    /// Connects to the server, and makes the bucket if there is none.
    ///
    /// # Errors
    /// It cannot be reached, refuses the credentials, or has no JetStream.
    pub(super) async fn open(url: &str, name: &str, quota: u64) -> Result<Nats, StoreError> {
        let unavailable = |error: &dyn std::error::Error| StoreError::Unavailable(error.to_string());
        let servers: Vec<&str> = url.split(',').collect();
        let options = ConnectOptions::new().name("portcullis").request_timeout(Some(ANSWER));
        let client = options.connect(servers).await.map_err(|error| unavailable(&error))?;
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(ANSWER);
        // As NATS's own clients make a bucket, so that `nats kv` reads it.
        let bucket = Config {
            name: format!("KV_{name}"),
            subjects: vec![format!("$KV.{name}.>")],
            max_bytes: i64::try_from(quota).unwrap_or(i64::MAX),
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            num_replicas: 1,
            ..Config::default()
        };
        let mut stream =
            jetstream.get_or_create_stream(bucket.clone()).await.map_err(|error| unavailable(&error))?;
        let found = &stream.cached_info().config;
        if found.max_bytes != bucket.max_bytes {
            // The bucket of an operator may have replicas; its quota is ours.
            let config = Config { max_bytes: bucket.max_bytes, ..found.clone() };
            jetstream.update_stream(config).await.map_err(|error| unavailable(&error))?;
        }
        if stream.info().await.map_err(|error| unavailable(&error))?.config.max_messages_per_subject != 1 {
            return Err(StoreError::Unavailable(format!(
                "the bucket {name} keeps a history: choose another name for the store, or delete the bucket"
            )));
        }
        let bucket = jetstream.get_stream_no_info(format!("KV_{name}")).await;
        let bucket = bucket.map_err(|error| unavailable(&error))?;
        let turns = std::array::from_fn(|_| Mutex::new(()));
        Ok(Nats { client, jetstream, bucket, root: format!("$KV.{name}."), quota, turns })
    }

    /// Fails at once while there is no connection: what is sent then would be delivered later, unasked for.
    fn connected(&self) -> Result<(), StoreError> {
        match self.client.connection_state() {
            ConnectionState::Connected => Ok(()),
            _ => Err(StoreError::Unavailable("the connection is down, and is made again".to_owned())),
        }
    }

    /// Waits until no other writer of this daemon, that looks at the value first, is at the key.
    async fn turn(&self, key: &str) -> MutexGuard<'_, ()> {
        let hash = key.bytes().fold(5381usize, |hash, byte| hash.wrapping_mul(33) ^ usize::from(byte));
        self.turns[hash % TURNS].lock().await
    }

    /// Reads the last message of a key, from the leader: a replica may be behind.
    async fn last(&self, key: &str) -> Result<Last, StoreError> {
        self.connected()?;
        let message =
            match self.bucket.get_last_raw_message_by_subject(&subject::encode(&self.root, key)).await {
                Ok(message) => message,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                    return Ok(Last { value: None, sequence: 0, expires: 0 });
                }
                Err(error) => return Err(StoreError::Unavailable(error.to_string())),
            };
        let expires = message.headers.get(EXPIRES).and_then(|time| time.as_str().parse().ok()).unwrap_or(0);
        let is_there = message.headers.get(OPERATION).is_none() && is_live(expires, rows::now());
        let versioned = Versioned { value: message.payload, version: message.sequence };
        Ok(Last { value: is_there.then_some(versioned), sequence: message.sequence, expires })
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.last(key).await?.value)
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, StoreError> {
        let gets = futures_util::stream::iter(keys).map(|key| self.get(key));
        gets.buffered(AT_ONCE).try_collect().await
    }

    /// Asks for the subjects of a branch, and for the entries of those on the page, since a subject may be that of an
    /// expired entry.
    pub(super) async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<KeyPage, StoreError> {
        let mut first = BTreeSet::new();
        let mut more = false;
        for key in self.keys(prefix).await?.into_iter().filter(|key| after.is_none_or(|after| &**key > after))
        {
            first.insert(key);
            if first.len() > limit {
                more = true;
                first.pop_last();
            }
        }
        let cursor = first.last().filter(|_| more).cloned();
        let checked = futures_util::stream::iter(first).map(async |key| {
            let value = self.get(&key).await?;
            Ok::<_, StoreError>(value.map(|_| key))
        });
        let keys: Vec<Option<String>> = checked.buffered(AT_ONCE).try_collect().await?;
        Ok(KeyPage { keys: keys.into_iter().flatten().collect(), cursor })
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.connected()?;
        let unavailable = |error: &dyn std::error::Error| StoreError::Unavailable(error.to_string());
        let branch = subject::branch(&self.root, prefix);
        let mut subjects =
            self.bucket.info_with_subjects(branch).await.map_err(|error| unavailable(&error))?;
        let mut keys = Vec::new();
        while let Some(found) = subjects.next().await {
            let (subject, _) = found.map_err(|error| unavailable(&error))?;
            keys.extend(subject::decode(&self.root, &subject).filter(|key| key.starts_with(prefix)));
        }
        Ok(keys)
    }

    pub(super) async fn write(&self, write: Write) -> Result<Outcome, StoreError> {
        match write {
            Write::Set { key, value, ttl_ms, condition } => {
                let expires = ttl_ms.map_or(0, |ttl| rows::now().saturating_add(ttl));
                self.set(&key, value, expires, condition).await.map(Outcome::Swapped)
            }
            Write::Delete { key } => self.delete(&key).await.map(Outcome::Deleted),
            Write::Increment { key, delta } => self.increment(&key, delta).await.map(Outcome::Sum),
            Write::SetMany(entries) => {
                let sets = async |(key, value): (String, Bytes)| {
                    self.set(&key, value, 0, Condition::Always).await.map(drop)
                };
                // One after another: the last value of a key wins.
                for entry in entries {
                    sets(entry).await?;
                }
                Ok(Outcome::Done)
            }
            Write::DeleteMany(keys) => {
                let deletes =
                    futures_util::stream::iter(keys).map(async |key| self.delete(&key).await.map(drop));
                let () = deletes.buffer_unordered(AT_ONCE).try_collect().await?;
                Ok(Outcome::Done)
            }
        }
    }

    async fn set(
        &self,
        key: &str,
        value: Bytes,
        expires: u64,
        condition: Condition,
    ) -> Result<Swapped, StoreError> {
        loop {
            let expected = match condition {
                Condition::Always => None,
                Condition::Absent | Condition::Version(_) => {
                    let last = self.last(key).await?;
                    let holds = match condition {
                        Condition::Version(version) => {
                            last.value.as_ref().is_some_and(|now| now.version == version)
                        }
                        _ => last.value.is_none(),
                    };
                    if !holds {
                        return Ok(Swapped::Stale(last.value));
                    }
                    Some(last.sequence)
                }
            };
            match self.put(key, value.clone(), expires, expected).await? {
                Some(version) => return Ok(Swapped::Written(version)),
                // Another came first: look again.
                None => continue,
            }
        }
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        let _turn = self.turn(key).await;
        loop {
            let last = self.last(key).await?;
            let (number, expires) = match &last.value {
                Some(now) => (decimal(&now.value).ok_or(StoreError::NotANumber)?, last.expires),
                None => (0, 0),
            };
            let sum = number.checked_add(delta).ok_or(StoreError::Overflow)?;
            let value = Bytes::from(sum.to_string());
            if self.put(key, value, expires, Some(last.sequence)).await?.is_some() {
                return Ok(sum);
            }
        }
    }

    async fn delete(&self, key: &str) -> Result<bool, StoreError> {
        let _turn = self.turn(key).await;
        loop {
            let last = self.last(key).await?;
            if last.sequence == 0 {
                return Ok(false);
            }
            let mut headers = HeaderMap::new();
            headers.insert(OPERATION, "DEL");
            match self.publish(key, headers, Bytes::new(), Some(last.sequence)).await {
                Ok(marker) => {
                    // It takes space, but an entry that came after it must stay.
                    let subject = subject::encode(&self.root, key);
                    let purge = self.bucket.purge().filter(subject).sequence(marker + 1);
                    if let Err(error) = purge.await {
                        tracing::debug!("store: a marker stays: {error}");
                    }
                    return Ok(last.value.is_some());
                }
                Err(Refused::Stale) => continue,
                Err(Refused::Full) => return Err(StoreError::QuotaExceeded { quota: self.quota }),
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
    }

    /// Stores an entry and returns its version; `None` if the key has another sequence than was expected.
    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expires: u64,
        expected: Option<u64>,
    ) -> Result<Option<u64>, StoreError> {
        let mut headers = HeaderMap::new();
        if expires != 0 {
            headers.insert(EXPIRES, expires.to_string().as_str());
        }
        let mut stored = self.publish(key, headers.clone(), value.clone(), expected).await;
        if matches!(stored, Err(Refused::Full)) && self.sweep().await? {
            stored = self.publish(key, headers, value, expected).await;
        }
        match stored {
            Ok(version) => Ok(Some(version)),
            Err(Refused::Stale) => Ok(None),
            Err(Refused::Full) => Err(StoreError::QuotaExceeded { quota: self.quota }),
            Err(Refused::Failed(error)) => Err(error),
        }
    }

    async fn publish(
        &self,
        key: &str,
        mut headers: HeaderMap,
        value: Bytes,
        expected: Option<u64>,
    ) -> Result<u64, Refused> {
        self.connected().map_err(Refused::Failed)?;
        if let Some(expected) = expected {
            headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string().as_str());
        }
        let subject = subject::encode(&self.root, key);
        let sent = self.jetstream.publish_with_headers(subject, headers, value).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        acknowledged.map(|stored| stored.sequence).map_err(|error| Refused::from(&error))
    }

    /// Deletes expired entries and returns whether there were any.
    async fn sweep(&self) -> Result<bool, StoreError> {
        let expired = futures_util::stream::iter(self.keys("").await?).map(async |key| {
            let last = self.last(&key).await?;
            match last.value.is_none() && last.sequence != 0 {
                true => self.purge_expired(&key, last.sequence).await,
                false => Ok(false),
            }
        });
        let swept: Vec<bool> = expired.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(swept.contains(&true))
    }

    /// Purges an entry up to its sequence: what was written since then stays.
    async fn purge_expired(&self, key: &str, sequence: u64) -> Result<bool, StoreError> {
        let subject = subject::encode(&self.root, key);
        let purged = self.bucket.purge().filter(subject).sequence(sequence + 1).await;
        purged.map(|purged| purged.purged > 0).map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

impl From<&PublishError> for Refused {
    fn from(error: &PublishError) -> Refused {
        let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
        match (error.kind(), answer) {
            (PublishErrorKind::WrongLastSequence, _) => Refused::Stale,
            // The code stands for any failure to store; only the text says that it is the quota.
            (_, Some(answer))
                if answer.error_code() == ErrorCode::STREAM_STORE_FAILED
                    && answer.to_string().contains("maximum bytes") =>
            {
                Refused::Full
            }
            (_, Some(answer)) => Refused::Failed(StoreError::Unavailable(answer.to_string())),
            (PublishErrorKind::StreamNotFound | PublishErrorKind::MaxPayloadExceeded, _) => {
                Refused::Failed(StoreError::Unavailable(error.to_string()))
            }
            _ => Refused::Failed(StoreError::Interrupted(error.to_string())),
        }
    }
}
