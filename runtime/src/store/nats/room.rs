//! The room that a bucket has under its quota. The server is told no bound: at its `max_bytes` it would acknowledge new
//! entries and delete old ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::limits::StoreQuota;

/// Bytes that a message counts beside its subject and value: at most what the server stores, our headers included.
const PER_MESSAGE: usize = 160;

/// The time for which the size of a bucket counts as known. Other daemons write to it as well.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// The part of the free bytes, as a divisor, that is written before the server is asked for the size again.
const SHARE: u64 = 8;

/// What is known of a bucket's size.
pub(super) struct BucketRoom {
    pub(super) quota: StoreQuota,
    known: Mutex<KnownRoom>,
    /// Bytes of messages that the size may lack, because they are not acknowledged yet.
    under_way: AtomicU64,
}

struct KnownRoom {
    bytes: u64,
    until: Instant,
}

/// A message that is not acknowledged yet.
pub(super) struct MessageUnderWay<'r> {
    room: &'r BucketRoom,
    pub(super) bytes: u64,
}

/// Returns the bytes that a message counts.
pub(super) fn message_bytes(subject: &str, value_bytes: usize) -> u64 {
    (subject.len() + value_bytes + PER_MESSAGE) as u64
}

impl BucketRoom {
    pub(super) fn new(quota: StoreQuota) -> BucketRoom {
        let known = Mutex::new(KnownRoom { bytes: 0, until: Instant::now() });
        BucketRoom { quota, known, under_way: AtomicU64::new(0) }
    }

    /// Counts a message until it is acknowledged.
    pub(super) fn send(&self, bytes: u64) -> MessageUnderWay<'_> {
        self.under_way.fetch_add(bytes, Ordering::Relaxed);
        MessageUnderWay { room: self, bytes }
    }

    /// Whether there is room for a message by what is known. Takes the room if so.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = Instant::now() < known.until && bytes <= known.bytes;
        if fits {
            known.bytes -= bytes;
        }
        fits
    }

    /// Returns the bytes by which a bucket of this size, with the messages under way, is beyond its quota.
    pub(super) fn excess(&self, bucket_bytes: u64) -> u64 {
        let used = bucket_bytes.saturating_add(self.under_way.load(Ordering::Relaxed));
        let quota = self.quota.get();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.bytes = quota.saturating_sub(used) / SHARE;
        known.until = Instant::now() + KNOWN_FOR;
        used.saturating_sub(quota)
    }
}

impl Drop for MessageUnderWay<'_> {
    fn drop(&mut self) {
        self.room.under_way.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
