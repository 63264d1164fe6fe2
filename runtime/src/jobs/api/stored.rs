//! Entries of a store as JSON has them: a value is text, or base64 if it is not UTF-8.

use anyhow::Result;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::store::StoreEntry;

/// A value of a store: the key `value` or the key `value_base64` of a JSON object.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StoredValue {
    /// A value that is UTF-8.
    #[serde(rename = "value")]
    Text(String),
    /// Any value, in the base64 of RFC 4648 §4.
    #[serde(rename = "value_base64")]
    Base64(String),
}

impl StoredValue {
    /// Makes the shorter form of a value.
    pub fn of(value: &[u8]) -> StoredValue {
        match std::str::from_utf8(value) {
            Ok(text) => StoredValue::Text(text.to_owned()),
            Err(_) => StoredValue::Base64(BASE64.encode(value)),
        }
    }

    /// Returns the bytes of the value.
    ///
    /// # Errors
    /// The text is not base64.
    pub fn bytes(self) -> Result<Bytes> {
        match self {
            StoredValue::Text(text) => Ok(text.into()),
            StoredValue::Base64(text) => {
                let bytes = BASE64.decode(text.as_bytes());
                Ok(bytes.map_err(|error| anyhow::anyhow!("value_base64: {error}"))?.into())
            }
        }
    }
}

/// An entry of a store, as a line of a dump. Versions are left out: those of another store mean nothing.
#[derive(Serialize)]
pub struct DumpedEntry {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(flatten)]
    pub value: StoredValue,
    /// When it expires, in RFC 3339; left out if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl DumpedEntry {
    /// Makes the line of an entry.
    pub fn of(StoreEntry { key, current }: StoreEntry) -> DumpedEntry {
        let expires = current.expires_ms.and_then(expiry);
        DumpedEntry { key, value: StoredValue::of(&current.value), expires }
    }
}

/// Formats a time of expiry. Returns `None` if it is beyond the calendar.
pub fn expiry(milliseconds: u64) -> Option<String> {
    let time = DateTime::from_timestamp_millis(i64::try_from(milliseconds).ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
