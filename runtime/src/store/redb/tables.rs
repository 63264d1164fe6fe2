//! The tables of a store's file, and the rows within a write transaction.

use std::path::Path;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable as _, Table, TableDefinition, WriteTransaction};

use super::failure;
use crate::store::error::StoreError;
use crate::store::rows::{RowTable, StoredRow};

/// The version, the expiry and the value of each key.
pub(super) const ENTRIES: TableDefinition<'_, &str, (u64, u64, &[u8])> = TableDefinition::new("entries");

/// The keys that expire, in the order in which they do.
const EXPIRY: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("expiry");

/// Numbers of the whole store.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Returns the bytes that all entries count.
pub(super) fn used(transaction: &ReadTransaction) -> Result<u64, redb::Error> {
    Ok(transaction.open_table(META)?.get("used")?.map_or(0, |used| used.value()))
}

/// The version of this layout, in [`META`] as `format`.
const FORMAT: u64 = 1;

/// The rows within a transaction.
pub(super) struct StoredRows<'t> {
    path: &'t Path,
    entries: Table<'t, &'static str, (u64, u64, &'static [u8])>,
    expiry: Table<'t, (u64, &'static str), ()>,
    meta: Table<'t, &'static str, u64>,
    used: u64,
    version: u64,
    changed: bool,
}

impl<'t> StoredRows<'t> {
    /// Opens the tables, and makes those that are missing.
    ///
    /// # Errors
    /// The file holds something else.
    pub(super) fn open(
        path: &'t Path,
        transaction: &'t WriteTransaction,
    ) -> Result<StoredRows<'t>, StoreError> {
        let fail = |error: redb::TableError| failure::of(path, error);
        let meta = transaction.open_table(META).map_err(fail)?;
        let number = |name: &str| -> Result<Option<u64>, StoreError> {
            let number = meta.get(name).map_err(|error| failure::of(path, error))?;
            Ok(number.map(|number| number.value()))
        };
        let (format, used, version) = (number("format")?, number("used")?, number("version")?);
        if let Some(format) = format.filter(|format| *format != FORMAT) {
            let what = format!("its layout is {format}, and this daemon reads {FORMAT}");
            return Err(failure::corrupt(path.display(), &what));
        }
        let mut rows = StoredRows {
            path,
            entries: transaction.open_table(ENTRIES).map_err(fail)?,
            expiry: transaction.open_table(EXPIRY).map_err(fail)?,
            meta,
            used: used.unwrap_or(0),
            version: version.unwrap_or(0),
            changed: format.is_none(),
        };
        if format.is_none() {
            rows.meta.insert("format", FORMAT).map_err(|error| failure::of(path, error))?;
        }
        Ok(rows)
    }

    /// Writes the numbers of the store. Returns whether there is anything to commit.
    pub(super) fn finish(mut self) -> Result<bool, StoreError> {
        if self.changed {
            let numbers = [("used", self.used), ("version", self.version)];
            for (name, number) in numbers {
                self.meta.insert(name, number).map_err(|error| failure::of(self.path, error))?;
            }
        }
        Ok(self.changed)
    }
}

/// Reads a row as the table has it.
pub(super) fn row((version, expires, value): (u64, u64, &[u8])) -> StoredRow {
    StoredRow { value: Bytes::copy_from_slice(value), version, expires }
}

impl RowTable for StoredRows<'_> {
    fn row(&self, key: &str) -> Result<Option<StoredRow>, StoreError> {
        let found = self.entries.get(key).map_err(|error| failure::of(self.path, error))?;
        Ok(found.map(|found| row(found.value())))
    }

    fn put(&mut self, key: &str, row: StoredRow, old: Option<&StoredRow>) -> Result<(), StoreError> {
        let fail = |error| failure::of(self.path, error);
        self.changed = true;
        if let Some(old) = old.filter(|old| old.expires != 0) {
            self.expiry.remove((old.expires, key)).map_err(fail)?;
        }
        if row.expires != 0 {
            self.expiry.insert((row.expires, key), ()).map_err(fail)?;
        }
        self.entries.insert(key, (row.version, row.expires, &*row.value)).map_err(fail)?;
        Ok(())
    }

    fn remove(&mut self, key: &str, old: &StoredRow) -> Result<(), StoreError> {
        let fail = |error| failure::of(self.path, error);
        self.changed = true;
        if old.expires != 0 {
            self.expiry.remove((old.expires, key)).map_err(fail)?;
        }
        self.entries.remove(key).map_err(fail)?;
        Ok(())
    }

    fn expired(&self, now: u64, max: usize) -> Result<Vec<String>, StoreError> {
        let fail = |error| failure::of(self.path, error);
        let mut keys = Vec::new();
        for entry in self.expiry.iter().map_err(fail)?.take(max) {
            let (key, _) = entry.map_err(fail)?;
            let (expires, key) = key.value();
            if expires > now {
                break;
            }
            keys.push(key.to_owned());
        }
        Ok(keys)
    }

    fn used(&mut self) -> &mut u64 {
        &mut self.used
    }

    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }
}
