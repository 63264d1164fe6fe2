//! Stores in memory, for a handler's own tests. Each thread has its own, so that tests do not meet.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::store::{Condition, Entry, Page, StoreError, StoreErrorKind, Swapped};

/// The bounds of the daemon.
const MAX_KEY: usize = 512;
const MAX_VALUE: usize = 1_000_000;
const MAX_BATCH: usize = 256;
const MAX_BATCH_BYTES: usize = 8 << 20;
const MAX_PAGE: usize = 1000;
const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

thread_local! {
    static STORES: RefCell<HashMap<String, Rows>> = RefCell::default();
}

/// A store by its name.
#[derive(Debug)]
pub(in crate::store) struct Handle(String);

#[derive(Default)]
struct Rows {
    rows: BTreeMap<String, Row>,
    version: u64,
}

struct Row {
    entry: Entry,
    expires: Option<Instant>,
}

impl Handle {
    pub(in crate::store) fn open(name: &str) -> Result<Handle, StoreError> {
        Ok(Handle(name.to_owned()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Rows) -> T) -> T {
        STORES.with_borrow_mut(|stores| {
            let rows = stores.entry(self.0.clone()).or_default();
            rows.rows.retain(|_, row| row.expires.is_none_or(|expires| expires > Instant::now()));
            act(rows)
        })
    }

    pub(in crate::store) fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check(key)?;
        Ok(self.with(|rows| rows.rows.get(key).map(|row| row.entry.clone())))
    }

    pub(in crate::store) fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        condition: Condition,
    ) -> Result<Swapped, StoreError> {
        check(key)?;
        check_value(value)?;
        if ttl.is_some_and(|ttl| ttl > MAX_TTL) {
            return Err(invalid("a time to live is a hundred years at most: leave it out".to_owned()));
        }
        let expires = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        Ok(self.with(|rows| {
            let current = rows.rows.get(key).map(|row| &row.entry);
            let holds = match condition {
                Condition::Always => true,
                Condition::Absent => current.is_none(),
                Condition::Version(version) => current.is_some_and(|entry| entry.version == version),
            };
            if holds {
                Swapped::Written(rows.put(key, value, expires))
            } else {
                Swapped::Stale(current.cloned())
            }
        }))
    }

    pub(in crate::store) fn delete(&self, key: &str) -> Result<bool, StoreError> {
        check(key)?;
        Ok(self.with(|rows| rows.rows.remove(key).is_some()))
    }

    pub(in crate::store) fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        check(key)?;
        self.with(|rows| {
            let row = rows.rows.get(key);
            let number = row.map_or(Some(0), |row| {
                let number: i64 = std::str::from_utf8(&row.entry.value).ok()?.parse().ok()?;
                (number.to_string().as_bytes() == row.entry.value).then_some(number)
            });
            let number = number.ok_or_else(|| {
                StoreError::new(StoreErrorKind::NotANumber, format!("{key}: the value is no decimal integer"))
            })?;
            let sum = number.checked_add(delta).ok_or_else(|| {
                StoreError::new(StoreErrorKind::Overflow, format!("{key}: the sum does not fit into 64 bits"))
            })?;
            let expires = row.and_then(|row| row.expires);
            rows.put(key, sum.to_string().as_bytes(), expires);
            Ok(sum)
        })
    }

    pub(in crate::store) fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        [Some(prefix), cursor].into_iter().flatten().filter(|key| !key.is_empty()).try_for_each(check)?;
        Ok(self.with(|rows| {
            let keys = rows.rows.keys().filter(|key| key.starts_with(prefix));
            let mut behind = keys.filter(|key| cursor.is_none_or(|cursor| key.as_str() > cursor)).cloned();
            let keys: Vec<String> = behind.by_ref().take(limit.clamp(1, MAX_PAGE)).collect();
            let cursor = behind.next().and_then(|_| keys.last().cloned());
            Page { keys, cursor }
        }))
    }

    pub(in crate::store) fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        check_batch(keys.iter().copied(), 0)?;
        let values: Vec<Option<Entry>> = keys.iter().map(|key| self.get(key)).collect::<Result<_, _>>()?;
        let bytes: usize = values.iter().flatten().map(|entry| entry.value.len()).sum();
        if bytes > MAX_BATCH_BYTES {
            return Err(invalid(format!(
                "the values of a batch have {MAX_BATCH_BYTES} bytes at most together: ask for fewer keys at once"
            )));
        }
        Ok(values)
    }

    pub(in crate::store) fn set_many(&self, entries: &[(&str, &[u8])]) -> Result<(), StoreError> {
        let bytes = entries.iter().map(|(_, value)| value.len()).sum();
        check_batch(entries.iter().map(|(key, _)| *key), bytes)?;
        entries.iter().try_for_each(|(_, value)| check_value(value))?;
        let set = |(key, value): &(&str, &[u8])| self.set(key, value, None, Condition::Always).map(drop);
        entries.iter().try_for_each(set)
    }

    pub(in crate::store) fn delete_many(&self, keys: &[&str]) -> Result<(), StoreError> {
        check_batch(keys.iter().copied(), 0)?;
        keys.iter().try_for_each(|key| self.delete(key).map(drop))
    }
}

impl Rows {
    fn put(&mut self, key: &str, value: &[u8], expires: Option<Instant>) -> u64 {
        self.version += 1;
        let entry = Entry { value: value.to_vec(), version: self.version };
        self.rows.insert(key.to_owned(), Row { entry, expires });
        self.version
    }
}

/// Checks a key as the daemon does.
fn check(key: &str) -> Result<(), StoreError> {
    match key.len() {
        1..=MAX_KEY => Ok(()),
        length => Err(invalid(format!("a key has 1 to {MAX_KEY} bytes, and this one has {length}"))),
    }
}

/// Checks a value as the daemon does.
fn check_value(value: &[u8]) -> Result<(), StoreError> {
    match value.len() {
        0..=MAX_VALUE => Ok(()),
        length => Err(invalid(format!("a value has {MAX_VALUE} bytes at most, and this one has {length}"))),
    }
}

/// Checks a batch as the daemon does.
fn check_batch<'k>(
    keys: impl ExactSizeIterator<Item = &'k str>,
    value_bytes: usize,
) -> Result<(), StoreError> {
    let count = keys.len();
    if count > MAX_BATCH {
        return Err(invalid(format!("a batch has {MAX_BATCH} keys at most, and this one has {count}")));
    }
    let mut bytes = value_bytes;
    for key in keys {
        check(key)?;
        bytes += key.len();
    }
    if bytes > MAX_BATCH_BYTES {
        return Err(invalid(format!(
            "a batch has {MAX_BATCH_BYTES} bytes at most, and this one has {bytes}"
        )));
    }
    Ok(())
}

fn invalid(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}
