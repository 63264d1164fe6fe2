//! `portcullis_store_v1`, the daemon's functions for core modules (wasm32-wasip1).

use std::time::Duration;

use crate::store::{Condition, Entry, Page, StoreError, StoreErrorKind, Swapped};

/// Returned by a function that failed.
const FAILED: i32 = -1;

/// Returned for a key that has no value.
const ABSENT: i32 = -2;

/// Returned by `set` if the condition did not hold: there is another value, or none.
const STALE: i32 = 1;
const STALE_ABSENT: i32 = 2;

/// The size of the first buffer of `get` in bytes. Most values fit into it.
const FIRST: usize = 1024;

/// The size of the message buffer in bytes. No message is longer.
const LONGEST: usize = 1024;

mod import {
    #[link(wasm_import_module = "portcullis_store_v1")]
    unsafe extern "C" {
        pub(super) fn open(name: *const u8, size: usize) -> i32;
        pub(super) fn get(
            store: i32,
            key: *const u8,
            key_size: usize,
            buffer: *mut u8,
            size: usize,
            version: *mut u64,
        ) -> i32;
        pub(super) fn set(
            store: i32,
            key: *const u8,
            key_size: usize,
            value: *const u8,
            size: usize,
            ttl_ms: u64,
            condition: u32,
            expected: u64,
            version: *mut u64,
        ) -> i32;
        pub(super) fn delete(store: i32, key: *const u8, size: usize) -> i32;
        pub(super) fn increment(store: i32, key: *const u8, size: usize, delta: i64, sum: *mut i64) -> i32;
        pub(super) fn list(
            store: i32,
            prefix: *const u8,
            prefix_size: usize,
            cursor: *const u8,
            cursor_size: usize,
            limit: u32,
        ) -> i32;
        pub(super) fn get_many(store: i32, keys: *const u8, size: usize) -> i32;
        pub(super) fn set_many(store: i32, entries: *const u8, size: usize) -> i32;
        pub(super) fn delete_many(store: i32, keys: *const u8, size: usize) -> i32;
        pub(super) fn result(buffer: *mut u8, size: usize) -> i32;
        pub(super) fn error(buffer: *mut u8, size: usize) -> i32;
    }
}

/// A store by its number.
#[derive(Debug)]
pub(in crate::store) struct Handle(i32);

impl Handle {
    pub(in crate::store) fn open(name: &str) -> Result<Handle, StoreError> {
        // SAFETY: the pointer and the length are those of one string, which is only read.
        checked(unsafe { import::open(name.as_ptr(), name.len()) }).map(Handle)
    }

    pub(in crate::store) fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let mut value = vec![0; FIRST];
        let mut version = 0;
        let (buffer, size) = (value.as_mut_ptr(), value.len());
        // SAFETY: the pointers and lengths are those of one string, which is only read, and of a buffer and a number,
        // which this function owns.
        let code = unsafe { import::get(self.0, key.as_ptr(), key.len(), buffer, size, &raw mut version) };
        if code == ABSENT {
            return Ok(None);
        }
        let length = checked(code).map(size_of_result)?;
        if length > value.len() {
            value = result(length);
        }
        value.truncate(length);
        Ok(Some(Entry { value, version }))
    }

    pub(in crate::store) fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        condition: Condition,
    ) -> Result<Swapped, StoreError> {
        // 0 would be no time to live at all.
        let ttl = ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
        let (condition, expected) = match condition {
            Condition::Always => (0, 0),
            Condition::Absent => (1, 0),
            Condition::Version(version) => (2, version),
        };
        let mut version = 0;
        // SAFETY: the pointers and lengths are those of a string and a slice, which are only read, and of a number,
        // which this function owns.
        let code = unsafe {
            import::set(
                self.0,
                key.as_ptr(),
                key.len(),
                value.as_ptr(),
                value.len(),
                ttl,
                condition,
                expected,
                &raw mut version,
            )
        };
        match checked(code)? {
            STALE => Ok(Swapped::Stale(Some(Entry { value: whole_result(), version }))),
            STALE_ABSENT => Ok(Swapped::Stale(None)),
            _ => Ok(Swapped::Written(version)),
        }
    }

    pub(in crate::store) fn delete(&self, key: &str) -> Result<bool, StoreError> {
        // SAFETY: the pointer and the length are those of one string, which is only read.
        checked(unsafe { import::delete(self.0, key.as_ptr(), key.len()) }).map(|existed| existed != 0)
    }

    pub(in crate::store) fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        let mut sum = 0;
        // SAFETY: the pointers and the length are those of one string, which is only read, and of a number, which this
        // function owns.
        let code = unsafe { import::increment(self.0, key.as_ptr(), key.len(), delta, &raw mut sum) };
        checked(code).map(|_| sum)
    }

    pub(in crate::store) fn list(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let cursor = cursor.unwrap_or_default();
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        // SAFETY: the pointers and lengths are those of two strings, which are only read.
        let code = unsafe {
            import::list(self.0, prefix.as_ptr(), prefix.len(), cursor.as_ptr(), cursor.len(), limit)
        };
        let page = checked(code).map(size_of_result).map(result)?;
        let (more, mut rest) = page.split_first().ok_or_else(unreadable)?;
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let key = String::from_utf8(record(&mut rest)?.to_vec());
            keys.push(key.map_err(|_| unreadable())?);
        }
        let cursor = (*more == 1 && !keys.is_empty()).then(|| keys.remove(0));
        Ok(Page { keys, cursor })
    }

    pub(in crate::store) fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        let list = records(keys.iter().map(|key| key.as_bytes()))?;
        // SAFETY: the pointer and the length are those of one buffer, which is only read.
        let code = unsafe { import::get_many(self.0, list.as_ptr(), list.len()) };
        let values = checked(code).map(size_of_result).map(result)?;
        let mut rest = &values[..];
        let mut entries = Vec::with_capacity(keys.len());
        while let Some((is_there, after)) = rest.split_first() {
            rest = after;
            if *is_there == 0 {
                entries.push(None);
                continue;
            }
            let (version, after) = rest.split_first_chunk().ok_or_else(unreadable)?;
            rest = after;
            let value = record(&mut rest)?.to_vec();
            entries.push(Some(Entry { value, version: u64::from_le_bytes(*version) }));
        }
        Ok(entries)
    }

    pub(in crate::store) fn set_many(&self, entries: &[(&str, &[u8])]) -> Result<(), StoreError> {
        let list = records(entries.iter().flat_map(|(key, value)| [key.as_bytes(), value]))?;
        // SAFETY: the pointer and the length are those of one buffer, which is only read.
        checked(unsafe { import::set_many(self.0, list.as_ptr(), list.len()) }).map(drop)
    }

    pub(in crate::store) fn delete_many(&self, keys: &[&str]) -> Result<(), StoreError> {
        let list = records(keys.iter().map(|key| key.as_bytes()))?;
        // SAFETY: the pointer and the length are those of one buffer, which is only read.
        checked(unsafe { import::delete_many(self.0, list.as_ptr(), list.len()) }).map(drop)
    }
}

/// Writes texts, each with its length before it.
fn records<'r>(texts: impl Iterator<Item = &'r [u8]>) -> Result<Vec<u8>, StoreError> {
    let mut list = Vec::new();
    for text in texts {
        let length = u32::try_from(text.len())
            .map_err(|_| StoreError::new(StoreErrorKind::Invalid, "a key or value is too long"))?;
        list.extend_from_slice(&length.to_le_bytes());
        list.extend_from_slice(text);
    }
    Ok(list)
}

/// Reads a text with its length before it.
fn record<'r>(rest: &mut &'r [u8]) -> Result<&'r [u8], StoreError> {
    let (length, after) = rest.split_first_chunk().ok_or_else(unreadable)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (record, after) = after.split_at_checked(length).ok_or_else(unreadable)?;
    *rest = after;
    Ok(record)
}

fn unreadable() -> StoreError {
    StoreError::new(StoreErrorKind::Other, "the daemon's answer cannot be read")
}

/// Takes the whole result of the last operation, whose length is not known.
fn whole_result() -> Vec<u8> {
    // SAFETY: nothing is written to a buffer of no bytes.
    let length = unsafe { import::result(std::ptr::dangling_mut(), 0) };
    result(size_of_result(length))
}

/// Takes the result of the last operation.
fn result(length: usize) -> Vec<u8> {
    let mut result = vec![0; length];
    // SAFETY: the pointer and the length are those of one buffer, which this function owns.
    unsafe { import::result(result.as_mut_ptr(), result.len()) };
    result
}

fn checked(outcome: i32) -> Result<i32, StoreError> {
    if outcome == FAILED { Err(last_error()) } else { Ok(outcome) }
}

/// Converts a number that is not negative to a size.
fn size_of_result(number: i32) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// Returns why the last function failed: `CODE: MESSAGE`.
fn last_error() -> StoreError {
    let mut text = vec![0; LONGEST];
    // SAFETY: the pointer and the length are those of one buffer, which this function owns.
    let length = unsafe { import::error(text.as_mut_ptr(), text.len()) };
    text.truncate(size_of_result(length));
    StoreError::parse(&String::from_utf8_lossy(&text))
}
