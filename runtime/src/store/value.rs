//! The writes to a store, their outcomes, and the entries that are read from it.

use bytes::Bytes;

use super::error::StoreError;

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// Changes with every write. A store uses no version twice, not even for another key, unless it lost the write.
    pub version: u64,
    /// When it expires, in milliseconds since 1970. `None` if it does not.
    pub expires_ms: Option<u64>,
}

/// A key with its value, as a listing of all entries gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreEntry {
    /// The key.
    pub key: String,
    /// Its value.
    pub current: Versioned,
}

/// A part of all entries, or why the next part cannot be read.
pub(super) type EntryBatch = Result<Vec<StoreEntry>, StoreError>;

/// When a `set` takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always: the last write wins.
    Always,
    /// Only if the key has no value.
    Absent,
    /// Only if the key's value has this version.
    Version(u64),
}

/// The outcome of a `set` under a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The value was written and has this version.
    Written(u64),
    /// The condition did not hold. This is the current value; `None` if the key has none.
    Stale(Option<Versioned>),
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys in the order of their bytes. A page may be empty although more keys follow.
    pub keys: Vec<String>,
    /// Continues the listing. `None` at its end.
    pub cursor: Option<String>,
}

/// What a write has survived when it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// A loss of power: it is on disk.
    #[default]
    Sync,
    /// Nothing yet: it is on disk after 100 ms. A crash loses the writes since then, each of them whole.
    Relaxed,
}

/// A change of a store.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Set {
        key: String,
        value: Bytes,
        ttl_ms: Option<u64>,
        condition: Condition,
    },
    Delete {
        key: String,
    },
    Increment {
        key: String,
        delta: i64,
    },
    /// Writes all entries or none.
    SetMany(Vec<(String, Bytes)>),
    /// Deletes all keys.
    DeleteMany(Vec<String>),
}

impl Write {
    /// Bytes of its keys and values.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Write::Set { key, value, .. } => key.len() + value.len(),
            Write::Delete { key } | Write::Increment { key, .. } => key.len(),
            Write::SetMany(entries) => entries.iter().map(|(key, value)| key.len() + value.len()).sum(),
            Write::DeleteMany(keys) => keys.iter().map(String::len).sum(),
        }
    }
}

/// The outcome of a [`Write`].
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Swapped(Swapped),
    /// Whether a key had a value before it was deleted.
    Deleted(bool),
    Sum(i64),
    /// The batch is written.
    Done,
}

/// Reads a decimal integer as Redis does: no sign but `-`, no leading zero, no space.
pub(super) fn decimal(value: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == value).then_some(number)
}

/// Returns the end of the range of keys that begin with a prefix; `None` if it has no end.
#[cfg(any(feature = "redis", test))]
pub(super) fn prefix_end(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_text_stands_for_a_number() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("-7", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("007", None),
            ("+7", None),
            ("-0", None),
            (" 7", None),
            ("7\n", None),
            ("", None),
        ] {
            assert_eq!(decimal(text.as_bytes()), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next_byte() {
        assert_eq!(prefix_end("a/"), Some(b"a0".to_vec()));
        assert_eq!(prefix_end(""), None);
    }
}
