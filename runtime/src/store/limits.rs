//! Bounds on keys, values and batches, the same for every back end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::error::StoreError;

/// Bytes of the longest key. Encoded as the subject of a NATS message it stays below 2 KiB.
pub const MAX_KEY: usize = 512;

/// Bytes of the largest value: with its headers it fits into a NATS message of 1 MiB, that server's default.
pub const MAX_VALUE: usize = 1_000_000;

/// Keys of the largest batch.
pub const MAX_BATCH: usize = 256;

/// Bytes of the largest batch, keys and values together: a batch is held in memory whole.
pub const MAX_BATCH_BYTES: usize = 8 << 20;

/// Keys of the longest page of a listing.
pub const MAX_PAGE: usize = 1000;

/// Expired rows that one page of a listing passes over at most.
pub(super) const MAX_PASSED: usize = 10_000;

/// Bytes that an entry counts beside its key and value: without them, tiny entries would cost the quota nothing.
pub const PER_ENTRY: u64 = 64;

/// The longest time to live: beyond a century, leave it out.
pub const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The quota of an open store in bytes. A reload may change it.
#[derive(Clone, Debug)]
pub(super) struct StoreQuota(Arc<AtomicU64>);

impl StoreQuota {
    pub(super) fn new(bytes: u64) -> StoreQuota {
        StoreQuota(Arc::new(AtomicU64::new(bytes)))
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Checks a key.
pub(super) fn key(key: &str) -> Result<(), StoreError> {
    match key.len() {
        0 => Err(StoreError::Invalid("a key has at least one byte".to_owned())),
        length if length > MAX_KEY => {
            Err(StoreError::Invalid(format!("a key has {MAX_KEY} bytes at most, and this one has {length}")))
        }
        _ => Ok(()),
    }
}

/// Checks a value.
pub(super) fn value(value: &[u8]) -> Result<(), StoreError> {
    if value.len() > MAX_VALUE {
        let length = value.len();
        return Err(StoreError::Invalid(format!(
            "a value has {MAX_VALUE} bytes at most, and this one has {length}: store it in pieces"
        )));
    }
    Ok(())
}

/// Checks a batch of keys, with the bytes of its values.
pub(super) fn batch<'k>(
    keys: impl ExactSizeIterator<Item = &'k str>,
    value_bytes: usize,
) -> Result<(), StoreError> {
    let count = keys.len();
    if count > MAX_BATCH {
        return Err(StoreError::Invalid(format!(
            "a batch has {MAX_BATCH} keys at most, and this one has {count}: split it"
        )));
    }
    let mut bytes = value_bytes;
    for one in keys {
        key(one)?;
        bytes += one.len();
    }
    if bytes > MAX_BATCH_BYTES {
        return Err(StoreError::Invalid(format!(
            "a batch has {MAX_BATCH_BYTES} bytes at most, and this one has {bytes}: split it"
        )));
    }
    Ok(())
}

/// Adds the size of a value that is read to the bytes of its batch.
///
/// # Errors
/// The batch is too large to be held in memory.
pub(super) fn add_read(batch_bytes: &mut usize, value_bytes: usize) -> Result<(), StoreError> {
    *batch_bytes += value_bytes;
    if *batch_bytes > MAX_BATCH_BYTES {
        return Err(too_many_read());
    }
    Ok(())
}

/// Makes the error of a batch whose values are too large together.
pub(super) fn too_many_read() -> StoreError {
    StoreError::Invalid(format!(
        "the values of a batch have {MAX_BATCH_BYTES} bytes at most together: ask for fewer keys at once"
    ))
}

/// Checks a time to live and returns its milliseconds.
pub(super) fn ttl_ms(ttl: Option<Duration>) -> Result<Option<u64>, StoreError> {
    match ttl {
        None => Ok(None),
        Some(ttl) if ttl > MAX_TTL => {
            Err(StoreError::Invalid("a time to live is a hundred years at most: leave it out".to_owned()))
        }
        // Rounded up: an entry that is to live for less than a millisecond would never be seen.
        Some(ttl) => Ok(Some(u64::try_from(ttl.as_micros().div_ceil(1000).max(1)).unwrap_or(u64::MAX))),
    }
}

/// Returns the bytes by which an entry counts towards the quota.
pub(super) fn entry_size(key: &str, value_bytes: usize) -> u64 {
    (key.len() + value_bytes) as u64 + PER_ENTRY
}
