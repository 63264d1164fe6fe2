//! `memory:`, a store that ends with the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::limits::{self, StoreQuota, entry_size};
use super::rows::{self, PageBuilder, RowTable, StoredRow, is_live};
use super::value::{KeyPage, Outcome, Versioned, Write};

/// Bytes that an entry counts only here. Its place in the map, which is at least half full, takes 72 bytes and as many
/// unused. The allocator adds at least 32 bytes to the key and the value.
const PLACE: u64 = 128;

/// The same for an entry that expires, which is in a second map with its key.
const EXPIRY_PLACE: u64 = 96;

/// A store in memory. No operation waits.
pub(super) struct Memory {
    tables: Mutex<MemoryTables>,
    quota: StoreQuota,
}

#[derive(Default)]
struct MemoryTables {
    rows: BTreeMap<String, StoredRow>,
    expiry: BTreeSet<(u64, String)>,
    used: u64,
    version: u64,
}

impl Memory {
    pub(super) fn new(quota: StoreQuota) -> Memory {
        Memory { tables: Mutex::default(), quota }
    }

    fn tables(&self) -> MutexGuard<'_, MemoryTables> {
        // No write panics halfway: every step of it is a step on a map.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &str) -> Option<Versioned> {
        self.tables().rows.get(key).cloned().and_then(|row| row.live(rows::now()))
    }

    /// Reads all keys under one lock: the values are of one moment.
    pub(super) fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Versioned>>, StoreError> {
        let now = rows::now();
        let tables = self.tables();
        let mut bytes = 0;
        let get = |key: &String| {
            let row = tables.rows.get(key).filter(|row| is_live(row.expires, now));
            limits::add_read(&mut bytes, row.map_or(0, |row| row.value.len()))?;
            Ok(row.cloned().and_then(|row| row.live(now)))
        };
        keys.iter().map(get).collect()
    }

    pub(super) fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> KeyPage {
        let now = rows::now();
        let tables = self.tables();
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut page = PageBuilder::new(prefix, limit, now);
        let mut rows = tables.rows.range::<str, _>((start, Bound::Unbounded));
        while rows.next().is_some_and(|(key, row)| page.add(key, row.expires)) {}
        page.page
    }

    /// Returns the bytes of all entries, as the quota counts them.
    pub(super) fn used(&self) -> u64 {
        self.tables().used
    }

    pub(super) fn write(&self, write: &Write) -> Result<Outcome, StoreError> {
        rows::apply(&mut *self.tables(), write, self.quota.get(), rows::now())
    }
}

impl RowTable for MemoryTables {
    fn row(&self, key: &str) -> Result<Option<StoredRow>, StoreError> {
        Ok(self.rows.get(key).cloned())
    }

    fn put(&mut self, key: &str, row: StoredRow, old: Option<&StoredRow>) -> Result<(), StoreError> {
        if let Some(old) = old {
            self.expiry.remove(&(old.expires, key.to_owned()));
        }
        if row.expires != 0 {
            self.expiry.insert((row.expires, key.to_owned()));
        }
        self.rows.insert(key.to_owned(), row);
        Ok(())
    }

    fn remove(&mut self, key: &str, old: &StoredRow) -> Result<(), StoreError> {
        self.expiry.remove(&(old.expires, key.to_owned()));
        self.rows.remove(key);
        Ok(())
    }

    fn expired(&self, now: u64, max: usize) -> Result<Vec<String>, StoreError> {
        let expired = self.expiry.iter().take_while(|(expires, _)| *expires <= now).take(max);
        Ok(expired.map(|(_, key)| key.clone()).collect())
    }

    fn size(&self, key: &str, value_bytes: usize, expires: u64) -> u64 {
        let expiry = if expires == 0 { 0 } else { EXPIRY_PLACE + key.len() as u64 };
        entry_size(key, value_bytes) + PLACE + expiry
    }

    fn used(&mut self) -> &mut u64 {
        &mut self.used
    }

    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::value::Condition;

    fn set(key: u64, ttl_ms: Option<u64>) -> Write {
        let (key, value) = (format!("{key:06}"), Bytes::from_static(b"1"));
        Write::Set { key, value, ttl_ms, condition: Condition::Always }
    }

    #[test]
    fn a_tiny_entry_counts_what_it_costs() {
        let quota = 1 << 20;
        let fill = |ttl_ms: Option<u64>| {
            let memory = Memory::new(StoreQuota::new(quota));
            let kept = (0..).take_while(|key| memory.write(&set(*key, ttl_ms)).is_ok()).count() as u64;
            (memory, kept)
        };

        let (lasting, expiring) = (fill(None), fill(Some(1_000_000)));

        assert_eq!(lasting.1, quota / (7 + 64 + 128));
        assert_eq!(expiring.1, quota / (7 + 64 + 128 + 96 + 6));
        // An entry without a time to live frees what the one with it has counted.
        for (memory, kept) in [lasting, expiring] {
            memory.write(&set(0, None)).unwrap();
            let keys = (0..kept).map(|key| format!("{key:06}")).collect();
            memory.write(&Write::DeleteMany(keys)).unwrap();
            assert_eq!(memory.used(), 0);
        }
    }
}
