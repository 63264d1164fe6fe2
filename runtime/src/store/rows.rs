//! The meaning of each write, over anything that holds rows: what memory and redb have in common.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::error::StoreError;
use super::limits::{MAX_PASSED, entry_size};
use super::value::{Condition, KeyPage, Outcome, Swapped, Versioned, Write, decimal};

/// Rows that one write removes because they are expired.
const SWEPT: usize = 16;

/// Rows that a write removes if the quota is reached.
const SWEPT_WHEN_FULL: usize = 10_000;

/// The stored row of a key.
#[derive(Clone, Debug)]
pub(super) struct StoredRow {
    pub(super) value: Bytes,
    pub(super) version: u64,
    /// Milliseconds since 1970, or 0 if it lives for ever.
    pub(super) expires: u64,
}

impl StoredRow {
    /// Returns the value unless it is expired.
    pub(super) fn live(self, now: u64) -> Option<Versioned> {
        let StoredRow { value, version, expires } = self;
        let expires_ms = (expires != 0).then_some(expires);
        is_live(expires, now).then_some(Versioned { value, version, expires_ms })
    }
}

/// Whether a row that expires then is live now.
pub(super) fn is_live(expires: u64, now: u64) -> bool {
    expires == 0 || expires > now
}

/// Rows in the order of their keys, the bytes that they count, and the last version that was used.
pub(super) trait RowTable {
    fn row(&self, key: &str) -> Result<Option<StoredRow>, StoreError>;
    /// Puts a row; `old` is the row that it replaces.
    fn put(&mut self, key: &str, row: StoredRow, old: Option<&StoredRow>) -> Result<(), StoreError>;
    fn remove(&mut self, key: &str, old: &StoredRow) -> Result<(), StoreError>;
    /// Returns keys of rows that are expired.
    fn expired(&self, now: u64, max: usize) -> Result<Vec<String>, StoreError>;
    /// Bytes that a row counts.
    fn size(&self, key: &str, value_bytes: usize, _expires: u64) -> u64 {
        entry_size(key, value_bytes)
    }
    /// Bytes that all rows count.
    fn used(&mut self) -> &mut u64;
    /// The last version that was used.
    fn version(&mut self) -> &mut u64;
}

/// One page of a listing, made from rows in the order of their keys.
pub(super) struct PageBuilder<'p> {
    prefix: &'p str,
    limit: usize,
    now: u64,
    passed: usize,
    pub(super) page: KeyPage,
}

impl PageBuilder<'_> {
    pub(super) fn new(prefix: &str, limit: usize, now: u64) -> PageBuilder<'_> {
        PageBuilder { prefix, limit, now, passed: 0, page: KeyPage::default() }
    }

    /// Adds the next row. Returns `false` if the page is complete.
    pub(super) fn add(&mut self, key: &str, expires: u64) -> bool {
        if !key.starts_with(self.prefix) {
            return false;
        }
        if !is_live(expires, self.now) {
            self.passed += 1;
            if self.passed < MAX_PASSED {
                return true;
            }
            self.page.cursor = Some(key.to_owned());
            return false;
        }
        if self.page.keys.len() == self.limit {
            self.page.cursor = self.page.keys.last().cloned();
            return false;
        }
        self.page.keys.push(key.to_owned());
        true
    }
}

/// Returns the milliseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Applies a write.
///
/// # Errors
/// The rows are unchanged, except that expired ones may be gone. `Unavailable` and `Corrupt` are errors of the rows
/// themselves, after which their state is unknown: discard them.
pub(super) fn apply(
    rows: &mut impl RowTable,
    write: &Write,
    quota: u64,
    now: u64,
) -> Result<Outcome, StoreError> {
    sweep(rows, now, SWEPT)?;
    match write {
        Write::Set { key, value, ttl_ms, condition } => {
            let old = rows.row(key)?;
            let current = old.clone().and_then(|row| row.live(now));
            let holds = match condition {
                Condition::Always => true,
                Condition::Absent => current.is_none(),
                Condition::Version(version) => current.as_ref().is_some_and(|now| now.version == *version),
            };
            if !holds {
                return Ok(Outcome::Swapped(Swapped::Stale(current)));
            }
            let expires = ttl_ms.map_or(0, |ttl| now.saturating_add(ttl));
            let version = put(rows, key, (value.clone(), expires), old, (quota, now))?;
            Ok(Outcome::Swapped(Swapped::Written(version)))
        }
        Write::Delete { key } => delete(rows, key, now).map(Outcome::Deleted),
        Write::Increment { key, delta } => {
            let old = rows.row(key)?.filter(|row| is_live(row.expires, now));
            let number = match &old {
                Some(row) => decimal(&row.value).ok_or(StoreError::NotANumber)?,
                None => 0,
            };
            let sum = number.checked_add(*delta).ok_or(StoreError::Overflow)?;
            let expires = old.as_ref().map_or(0, |row| row.expires);
            // An expired row is still in the tables, and replaced.
            let old = rows.row(key)?;
            put(rows, key, (Bytes::from(sum.to_string()), expires), old, (quota, now))?;
            Ok(Outcome::Sum(sum))
        }
        Write::SetMany(entries) => {
            // Of a key that is in the batch twice, the last value wins.
            let entries: BTreeMap<&str, &Bytes> =
                entries.iter().map(|(key, value)| (key.as_str(), value)).collect();
            let growth = |rows: &mut _| -> Result<(u64, u64), StoreError> {
                let (mut added, mut freed) = (0, 0);
                for (key, value) in &entries {
                    added += RowTable::size(rows, key, value.len(), 0);
                    freed += stored_size(rows, key, RowTable::row(rows, key)?.as_ref());
                }
                Ok((added, freed))
            };
            make_room(rows, growth, quota, now)?;
            for (key, value) in entries {
                let old = rows.row(key)?;
                put(rows, key, (value.clone(), 0), old, (u64::MAX, now))?;
            }
            Ok(Outcome::Done)
        }
        Write::DeleteMany(keys) => {
            for key in keys {
                delete(rows, key, now)?;
            }
            Ok(Outcome::Done)
        }
    }
}

/// Removes expired rows and returns how many.
pub(super) fn sweep(rows: &mut impl RowTable, now: u64, max: usize) -> Result<usize, StoreError> {
    let expired = rows.expired(now, max)?;
    for key in &expired {
        if let Some(row) = rows.row(key)? {
            remove(rows, key, &row)?;
        }
    }
    Ok(expired.len())
}

fn delete(rows: &mut impl RowTable, key: &str, now: u64) -> Result<bool, StoreError> {
    let Some(row) = rows.row(key)? else { return Ok(false) };
    remove(rows, key, &row)?;
    Ok(is_live(row.expires, now))
}

fn remove(rows: &mut impl RowTable, key: &str, row: &StoredRow) -> Result<(), StoreError> {
    rows.remove(key, row)?;
    let freed = stored_size(rows, key, Some(row));
    let used = rows.used();
    *used = used.saturating_sub(freed);
    Ok(())
}

/// Returns the bytes that a key counts with its row, which it may not have.
fn stored_size(rows: &impl RowTable, key: &str, row: Option<&StoredRow>) -> u64 {
    row.map_or(0, |row| rows.size(key, row.value.len(), row.expires))
}

/// Puts a value in place of `old`, the row that is in the tables, and returns its version.
fn put(
    rows: &mut impl RowTable,
    key: &str,
    (value, expires): (Bytes, u64),
    old: Option<StoredRow>,
    (quota, now): (u64, u64),
) -> Result<u64, StoreError> {
    let added = rows.size(key, value.len(), expires);
    let is_expired = old.as_ref().is_some_and(|row| !is_live(row.expires, now));
    let growth = |rows: &mut _| {
        let old = RowTable::row(rows, key)?;
        Ok((added, stored_size(rows, key, old.as_ref())))
    };
    let old = match make_room(rows, growth, quota, now)? {
        // The row itself was among the expired ones.
        Swept::Some if is_expired => rows.row(key)?,
        _ => old,
    };
    let freed = stored_size(rows, key, old.as_ref());
    *rows.version() += 1;
    let version = *rows.version();
    rows.put(key, StoredRow { value, version, expires }, old.as_ref())?;
    let used = rows.used();
    *used = used.saturating_sub(freed).saturating_add(added);
    Ok(version)
}

/// Whether expired rows were removed.
enum Swept {
    Some,
    None,
}

/// Checks that there is room for what `growth` returns: the bytes added and the bytes freed. If there is none, expired
/// rows are removed first.
fn make_room<R: RowTable>(
    rows: &mut R,
    growth: impl Fn(&mut R) -> Result<(u64, u64), StoreError>,
    quota: u64,
    now: u64,
) -> Result<Swept, StoreError> {
    let fits = |rows: &mut R| {
        let (added, freed) = growth(rows)?;
        // A write that frees as much as it adds is let through, even if the quota was lowered meanwhile.
        Ok(added <= freed || rows.used().saturating_sub(freed).saturating_add(added) <= quota)
    };
    if quota == u64::MAX || fits(rows)? {
        return Ok(Swept::None);
    }
    sweep(rows, now, SWEPT_WHEN_FULL)?;
    if fits(rows)? { Ok(Swept::Some) } else { Err(StoreError::QuotaExceeded { quota }) }
}
