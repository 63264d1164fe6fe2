//! `nats://HOST:PORT`: a JetStream key-value bucket. The version of an entry is the sequence number of its message.
//!
//! Every change that depends on the present value names the sequence that it expects, and the server refuses it if
//! another came first. `set` without a condition needs no such thing. Deleting leaves a marker, so that the order of
//! changes is kept, and then purges it.
//!
//! Floors, lowest first: `refused`, `room`, `subject`; `bucket`; this file.

mod bucket;
mod refused;
mod room;
mod subject;

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::{HeaderMap, header};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::{Mutex, MutexGuard};

use self::bucket::Bucket;
pub(super) use self::bucket::examine;
use self::refused::Refused;
use self::room::{BucketRoom, message_bytes};
use super::error::StoreError;
use super::limits::{self, StoreQuota};
use super::room::WriteRooms;
use super::rows::{self, is_live};
use super::value::{Condition, KeyPage, Outcome, Swapped, Versioned, Write, decimal};
use super::work;

/// Requests that one operation has under way at once.
const AT_ONCE: usize = 16;

/// The time between two searches for expired entries in a full bucket: each asks for every key.
const SWEEP_AFTER: Duration = Duration::from_secs(10);

/// Locks that spare writers of one key their rivals within this daemon.
const TURNS: usize = 64;

/// The header with the time at which an entry expires, in milliseconds since 1970.
const EXPIRES: &str = "Portcullis-Expires";

/// The header that marks an entry as deleted, as NATS's own clients write it.
const OPERATION: &str = "KV-Operation";

/// A store in a NATS server.
pub(super) struct Nats {
    bucket: Bucket,
    /// What all subjects of the store begin with.
    root: String,
    room: BucketRoom,
    /// The queues of writes that wait for the server.
    rooms: WriteRooms,
    /// When expired entries were last looked for.
    swept: std::sync::Mutex<Option<Instant>>,
    turns: [Mutex<()>; TURNS],
}

/// The last message of a key: an entry, or what is left of one.
struct Last {
    /// `None` if it is deleted or expired.
    value: Option<Versioned>,
    /// 0 if there was never an entry.
    sequence: u64,
    expires: u64,
    /// What it counts towards the quota, 0 if there was never an entry.
    bytes: u64,
}

impl Nats {
    /// Connects to the server, and makes the bucket if there is none.
    ///
    /// # Errors
    /// Those of [`Bucket::open`].
    pub(super) async fn open(url: &str, name: &str, quota: StoreQuota) -> Result<Nats, StoreError> {
        Ok(Nats {
            bucket: Bucket::open(url, name).await?,
            root: format!("$KV.{name}."),
            room: BucketRoom::new(quota),
            rooms: WriteRooms::new(),
            swept: std::sync::Mutex::new(None),
            turns: std::array::from_fn(|_| Mutex::new(())),
        })
    }

    /// Waits until no other writer of this daemon, that looks at the value first, is at the key.
    async fn turn(&self, key: &str) -> MutexGuard<'_, ()> {
        let hash = key.bytes().fold(5381usize, |hash, byte| hash.wrapping_mul(33) ^ usize::from(byte));
        self.turns[hash % TURNS].lock().await
    }

    /// Reads the last message of a key, from the leader: a replica may be behind.
    async fn last(&self, key: &str) -> Result<Last, StoreError> {
        self.bucket.ready().await?;
        let subject = subject::encode(&self.root, key);
        let message = match self.bucket.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok(Last { value: None, sequence: 0, expires: 0, bytes: 0 });
            }
            Err(error) => return Err(self.bucket.failed(&error)),
        };
        let expires = message.headers.get(EXPIRES).and_then(|time| time.as_str().parse().ok()).unwrap_or(0);
        let is_there = message.headers.get(OPERATION).is_none() && is_live(expires, rows::now());
        let bytes = message_bytes(&subject, message.payload.len());
        let expires_ms = (expires != 0).then_some(expires);
        let versioned = Versioned { value: message.payload, version: message.sequence, expires_ms };
        Ok(Last { value: is_there.then_some(versioned), sequence: message.sequence, expires, bytes })
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.last(key).await?.value)
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, StoreError> {
        let gets = futures_util::stream::iter(keys.to_vec()).map(async |key| self.get(&key).await);
        let mut gets = pin!(gets.buffered(AT_ONCE));
        let mut bytes = 0;
        let mut values = Vec::with_capacity(keys.len());
        while let Some(value) = gets.next().await {
            let value = value?;
            limits::add_read(&mut bytes, value.as_ref().map_or(0, |found| found.value.len()))?;
            values.push(value);
        }
        Ok(values)
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
        let mut keys = pin!(self.keys(prefix).await?);
        while let Some(key) = keys.next().await {
            let key = key?;
            if after.is_some_and(|after| *key <= *after) {
                continue;
            }
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

    /// Returns the bytes of the bucket, as the quota counts them.
    pub(super) async fn used(&self) -> Result<u64, StoreError> {
        self.bucket.ready().await?;
        let info = self.bucket.stream.get_info().await.map_err(|error| self.bucket.failed(&error))?;
        Ok(info.state.bytes)
    }

    /// Follows the keys with a prefix as the server lists them, in no order.
    pub(super) async fn keys(
        &self,
        prefix: impl AsRef<str>,
    ) -> Result<impl futures_util::Stream<Item = Result<String, StoreError>>, StoreError> {
        self.bucket.ready().await?;
        let branch = subject::branch(&self.root, prefix.as_ref());
        let subjects = self.bucket.stream.info_with_subjects(branch).await;
        let subjects = subjects.map_err(|error| self.bucket.failed(&error))?;
        Ok(subjects.filter_map(move |found| {
            let key = match found {
                Ok((subject, _)) => subject::decode(&self.root, &subject)
                    .filter(|key| key.starts_with(prefix.as_ref()))
                    .map(Ok),
                Err(error) => Some(Err(self.bucket.failed(&error))),
            };
            std::future::ready(key)
        }))
    }

    pub(super) async fn write(&self, write: Write) -> Result<Outcome, StoreError> {
        let _share = self.rooms.enter(write.bytes(), work::line()).await;
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
                    let purge = self.bucket.stream.purge().filter(subject).sequence(marker + 1);
                    if let Err(error) = purge.await {
                        tracing::debug!("store: a marker stays: {error}");
                    }
                    return Ok(last.value.is_some());
                }
                Err(Refused::Stale) => continue,
                Err(Refused::Full) => return Err(self.full()),
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
        let under_way = self.room.send(message_bytes(&subject::encode(&self.root, key), value.len()));
        let fits = self.fits(key, under_way.bytes).await?
            || self.sweep().await? && self.fits(key, under_way.bytes).await?;
        if !fits {
            return Err(self.full());
        }
        match self.publish(key, headers, value, expected).await {
            Ok(version) => Ok(Some(version)),
            Err(Refused::Stale) => Ok(None),
            Err(Refused::Full) => Err(self.full()),
            Err(Refused::Failed(error)) => Err(error),
        }
    }

    fn full(&self) -> StoreError {
        StoreError::QuotaExceeded { quota: self.room.quota.get() }
    }

    /// Whether the quota has room for a message under way. A message that frees as much as it adds is let through.
    async fn fits(&self, key: &str, bytes: u64) -> Result<bool, StoreError> {
        if self.room.take(bytes) {
            return Ok(true);
        }
        self.bucket.ready().await?;
        let info = self.bucket.stream.get_info().await.map_err(|error| self.bucket.failed(&error))?;
        let excess = self.room.excess(info.state.bytes);
        if excess == 0 {
            return Ok(true);
        }
        let freed = self.last(key).await?.bytes;
        Ok(freed >= excess.min(bytes))
    }

    async fn publish(
        &self,
        key: &str,
        mut headers: HeaderMap,
        value: Bytes,
        expected: Option<u64>,
    ) -> Result<u64, Refused> {
        self.bucket.ready().await.map_err(Refused::Failed)?;
        if let Some(expected) = expected {
            headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string().as_str());
        }
        let subject = subject::encode(&self.root, key);
        let sent = self.bucket.jetstream.publish_with_headers(subject, headers, value).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        acknowledged.map(|stored| stored.sequence).map_err(|error| {
            let refused = Refused::from(&error);
            if let Refused::Failed(_) = refused {
                self.bucket.look_again();
            }
            refused
        })
    }

    /// Deletes expired entries and returns whether there were any. Does nothing if it was called a moment ago.
    async fn sweep(&self) -> Result<bool, StoreError> {
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.is_some_and(|last| last.elapsed() < SWEEP_AFTER) {
                return Ok(false);
            }
            *swept = Some(Instant::now());
        }
        let purges = self.keys("").await?.map(async |key| {
            let key = key?;
            let last = self.last(&key).await?;
            match last.value.is_none() && last.sequence != 0 {
                true => self.purge_expired(&key, last.sequence).await,
                false => Ok(false),
            }
        });
        purges.buffer_unordered(AT_ONCE).try_fold(false, async |any, one| Ok(any || one)).await
    }

    /// Purges an entry up to its sequence: what was written since then stays.
    async fn purge_expired(&self, key: &str, sequence: u64) -> Result<bool, StoreError> {
        let subject = subject::encode(&self.root, key);
        let purged = self.bucket.stream.purge().filter(subject).sequence(sequence + 1).await;
        purged.map(|purged| purged.purged > 0).map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}
