//! Entries of a store as JSON has them: a value is text, or base64 if it is not UTF-8.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::store::{MAX_KEY, MAX_TTL, MAX_VALUE, StoreEntry};

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
#[derive(Serialize, Deserialize)]
pub struct DumpedEntry {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(flatten)]
    pub value: StoredValue,
    /// When it expires, in RFC 3339; left out if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// An entry that is to be written.
#[derive(Debug)]
pub struct LoadedEntry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// The rest of its time to live. `None` if it lives for ever; zero if it has expired.
    pub ttl: Option<Duration>,
}

impl DumpedEntry {
    /// Makes the line of an entry.
    pub fn of(StoreEntry { key, current }: StoreEntry) -> DumpedEntry {
        let expires = current.expires_ms.and_then(expiry);
        DumpedEntry { key, value: StoredValue::of(&current.value), expires }
    }

    /// Reads a line of a dump.
    ///
    /// # Errors
    /// It is not such a line, or key, value or time are out of bounds.
    pub fn read(line: &[u8], now: DateTime<Utc>) -> Result<LoadedEntry> {
        const WANTED: &str =
            "wanted {\"key\": \"...\", \"value\": \"...\"} or {\"key\": \"...\", \"value_base64\": \"...\"}";
        let DumpedEntry { key, value, expires } = serde_json::from_slice(line).context(WANTED)?;
        let value = value.bytes()?;
        ensure!((1..=MAX_KEY).contains(&key.len()), "key: wanted 1 to {MAX_KEY} bytes, found {}", key.len());
        let size = value.len();
        ensure!(size <= MAX_VALUE, "value: wanted {MAX_VALUE} bytes at most, found {size}");
        let left = |expires: String| -> Result<Duration> {
            let expires = DateTime::parse_from_rfc3339(&expires);
            let expires = expires.context("expires: wanted a time such as 2026-11-29T10:00:00Z")?;
            let left = (expires.to_utc() - now).to_std().unwrap_or_default();
            ensure!(left <= MAX_TTL, "expires: wanted a time within a hundred years: leave it out");
            Ok(left)
        };
        Ok(LoadedEntry { key, value, ttl: expires.map(left).transpose()? })
    }
}

/// Formats a time of expiry; `None` for one that is beyond the calendar.
pub fn expiry(milliseconds: u64) -> Option<String> {
    let time = DateTime::from_timestamp_millis(i64::try_from(milliseconds).ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Versioned;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let now = DateTime::from_timestamp_millis(1_000_000).unwrap();
        for (value, expires_ms, line) in [
            (&b"a\n\"b\""[..], None, r#"{"key":"k/\u0000","value":"a\n\"b\""}"#),
            (&b"\xff\0"[..], None, r#"{"key":"k/\u0000","value_base64":"/wA="}"#),
            (
                &b""[..],
                Some(1_002_500),
                r#"{"key":"k/\u0000","value":"","expires":"1970-01-01T00:16:42.500Z"}"#,
            ),
        ] {
            let current = Versioned { value: Bytes::from_static(value), version: 7, expires_ms };
            let entry = StoreEntry { key: "k/\0".to_owned(), current };

            let written = serde_json::to_string(&DumpedEntry::of(entry)).unwrap();
            assert_eq!(written, line);

            let read = DumpedEntry::read(written.as_bytes(), now).unwrap();
            assert_eq!((&*read.key, &*read.value), ("k/\0", value));
            assert_eq!(read.ttl, expires_ms.map(|_| Duration::from_millis(2500)));
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for (line, why) in [
            ("", "wanted {"),
            ("[]", "wanted {"),
            (r#"{"key":"a"}"#, "wanted {"),
            (r#"{"key":"","value":"a"}"#, "wanted 1 to 512 bytes"),
            (r#"{"key":"a","value_base64":"!"}"#, "value_base64"),
            (r#"{"key":"a","value":"a","expires":"soon"}"#, "wanted a time"),
            (r#"{"key":"a","value":"a","expires":"9999-12-31T00:00:00Z"}"#, "within a hundred years"),
        ] {
            let error = format!("{:#}", DumpedEntry::read(line.as_bytes(), Utc::now()).unwrap_err());
            assert!(error.contains(why), "{line}: {error}");
        }
        let past = r#"{"key":"a","value":"a","expires":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(DumpedEntry::read(past.as_bytes(), Utc::now()).unwrap().ttl, Some(Duration::ZERO));
    }
}
