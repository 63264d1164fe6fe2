//! Key-value stores that handlers are granted: one semantics over memory, redb, Redis and NATS.
//!
//! Floors, lowest first: `error`, `rate_count`, `room`, `work`; `limits`, `value`; `rows`, `url`; the back
//! ends `memory`, `redb`, `redis`, `nats`; `counts`; `key_value`; `entries`, `rate_outage`; `shared`; `shared_rate`.
//!
//! | operation | holds on every back end |
//! |---|---|
//! | get, exists | the last value written; never an expired value |
//! | set | the last write wins; whole or not at all; ends an earlier time to live |
//! | set if absent | of any number at once, one succeeds; the others get the current value |
//! | swap | succeeds only if the version is the current one; no version is used twice, unless a crash lost its write |
//! | increment | exact in 64 bits; an overflow is an error and changes nothing; keeps the time to live |
//! | list | in the order of the keys' bytes; the cursor is the last key seen |

mod counts;
mod entries;
mod error;
mod key_value;
mod limits;
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod rate_count;
mod rate_outage;
mod redb;
#[cfg(feature = "redis")]
mod redis;
mod room;
mod rows;
mod shared;
mod shared_rate;
#[cfg(test)]
mod tests;
mod url;
mod value;
mod work;

pub use self::counts::{OPERATIONS, Operation, OperationCounts};
pub use self::entries::StoreEntries;
pub use self::error::StoreError;
pub use self::key_value::{KeyValue, StoreOptions};
pub use self::limits::{MAX_BATCH, MAX_BATCH_BYTES, MAX_KEY, MAX_PAGE, MAX_TTL, MAX_VALUE, PER_ENTRY};
pub use self::rate_count::RateCount;
pub use self::redb::wait_for_all as wait_until_closed;
pub use self::shared::{SharedStore, StoreGrant, StorePool, StoreUse};
pub use self::shared_rate::SharedRate;
pub use self::url::{StoreUrl, StoreUrlError};
pub use self::value::{Condition, Durability, KeyPage, StoreEntry, Swapped, Versioned};
pub use self::work::StoreWork;
