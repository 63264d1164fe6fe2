//! A line of a dump, as it is read: its keys are known, its values have the right type, and both are within bounds.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Unexpected, Visitor};

use super::stored::StoredValue;
use crate::config;
use crate::store::{MAX_KEY, MAX_TTL, MAX_VALUE};

/// The keys of a line.
const KEYS: [&str; 5] = [KEY, VALUE, BASE64, EXPIRES, VERSION];
const KEY: &str = "key";
const VALUE: &str = "value";
const BASE64: &str = "value_base64";
const EXPIRES: &str = "expires";
/// The reply of `storeget` has it. A version of another store means nothing.
const VERSION: &str = "version";

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

impl LoadedEntry {
    /// Reads a line of a dump.
    ///
    /// # Errors
    /// It is not such a line, it has a key that no entry has, or key, value or time are out of bounds.
    pub fn read(line: &[u8], now: DateTime<Utc>) -> Result<LoadedEntry> {
        const WANTED: &str =
            "wanted {\"key\": \"...\", \"value\": \"...\"} or {\"key\": \"...\", \"value_base64\": \"...\"}";
        let mut texts = texts(line).context(WANTED)?;
        let key = texts.remove(KEY).context("\"key\" is missing").context(WANTED)?;
        let value = match (texts.remove(VALUE), texts.remove(BASE64)) {
            (Some(text), None) => StoredValue::Text(text),
            (None, Some(text)) => StoredValue::Base64(text),
            (None, None) => bail!("{WANTED}: the value is missing"),
            (Some(_), Some(_)) => bail!("{WANTED}: the value is there twice"),
        };
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
        Ok(LoadedEntry { key, value, ttl: texts.remove(EXPIRES).map(left).transpose()? })
    }
}

/// Reads the texts of a line by their keys.
fn texts(line: &[u8]) -> Result<BTreeMap<&'static str, String>> {
    let mut from = serde_json::Deserializer::from_slice(line);
    let read = from.deserialize_map(TextsOfLine).and_then(|texts| from.end().map(|()| texts));
    read.map_err(|error| {
        // The line within the text is always the first: the caller knows its number in the dump.
        let at = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        match message.strip_suffix(&at) {
            Some(what) => anyhow!("{what} (column {})", error.column()),
            None => anyhow!(message),
        }
    })
}

/// Says what to write instead of a key that no entry has.
fn unknown(name: &str) -> String {
    /// Letters of the key that are shown: a wrong file may have a key of megabytes.
    const SHOWN: usize = 64;
    let shown: String = name.chars().take(SHOWN).collect();
    match config::nearest(name, KEYS) {
        Some(near) => format!("unknown key {shown:?}; did you mean {near:?}?"),
        None => format!("unknown key {shown:?}; the keys are {}", KEYS.join(", ")),
    }
}

/// Reads an object with known keys, each of them once.
struct TextsOfLine;

impl<'de> Visitor<'de> for TextsOfLine {
    type Value = BTreeMap<&'static str, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut seen, mut texts) = (Vec::new(), BTreeMap::new());
        while let Some(name) = map.next_key::<String>()? {
            let known = KEYS.into_iter().find(|known| *known == name);
            let known = known.ok_or_else(|| A::Error::custom(unknown(&name)))?;
            if seen.contains(&known) {
                return Err(A::Error::custom(format!("the key {known:?} is there twice")));
            }
            seen.push(known);
            if known == VERSION {
                map.next_value::<IgnoredAny>()?;
            } else if let Some(text) = map.next_value_seed(TextOf(known))? {
                texts.insert(known, text);
            }
        }
        Ok(texts)
    }
}

/// Reads the text of a key; `None` for an expiry of `null`, as the reply of `storeget` has it.
struct TextOf(&'static str);

impl<'de> DeserializeSeed<'de> for TextOf {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<String>, D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for TextOf {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text in quotes for {:?}", self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<String>, E> {
        Ok(Some(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Option<String>, E> {
        if self.0 == EXPIRES { Ok(None) } else { Err(E::invalid_type(Unexpected::Unit, &self)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stored::DumpedEntry;
    use super::*;
    use crate::store::{StoreEntry, Versioned};

    fn refused(line: &str) -> String {
        format!("{:#}", LoadedEntry::read(line.as_bytes(), Utc::now()).unwrap_err())
    }

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

            let read = LoadedEntry::read(written.as_bytes(), now).unwrap();
            assert_eq!((&*read.key, &*read.value), ("k/\0", value));
            assert_eq!(read.ttl, expires_ms.map(|_| Duration::from_millis(2500)));
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for (line, why) in [
            ("", "wanted {"),
            ("[]", "wanted {"),
            ("{} x", "wanted {"),
            (r#"{"key":"a"}"#, "the value is missing"),
            (r#"{"value":"a"}"#, "\"key\" is missing"),
            (r#"{"key":"","value":"a"}"#, "wanted 1 to 512 bytes"),
            (r#"{"key":"a","value_base64":"!"}"#, "value_base64"),
            (r#"{"key":"a","value":"a","value_base64":"YQ=="}"#, "the value is there twice"),
            (r#"{"key":"a","value":"a","key":"b"}"#, "the key \"key\" is there twice"),
            (r#"{"key":"a","value":"a","expires":"soon"}"#, "wanted a time"),
            (r#"{"key":"a","value":"a","expires":"9999-12-31T00:00:00Z"}"#, "within a hundred years"),
        ] {
            let error = refused(line);
            assert!(error.contains(why), "{line}: {error}");
        }
        let past = r#"{"key":"a","value":"a","expires":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(LoadedEntry::read(past.as_bytes(), Utc::now()).unwrap().ttl, Some(Duration::ZERO));
    }

    #[test]
    fn a_mistyped_key_is_not_ignored() {
        let error = refused(r#"{"key":"a","value":"a","expire":"2099-01-01T00:00:00Z"}"#);
        assert!(error.contains("unknown key \"expire\"; did you mean \"expires\"? (column "), "{error}");
        let error = refused(r#"{"key":"a","value":"a","ttl":3}"#);
        let wanted = "unknown key \"ttl\"; the keys are key, value, value_base64, expires, version";
        assert!(error.contains(wanted), "{error}");
        let error = refused(&format!("{{\"{}\":1}}", "x".repeat(1000)));
        assert!(error.contains(&format!("\"{}\"", "x".repeat(64))), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_in_plain_words() {
        for (line, why) in [
            (r#"{"key":"a","value":3}"#, "integer `3`, expected a text in quotes for \"value\" (column "),
            (r#"{"key":["a"],"value":""}"#, "expected a text in quotes for \"key\""),
            (r#"{"key":"a","value_base64":null}"#, "null, expected a text in quotes for \"value_base64\""),
            (r#"{"key":"a","value":"","expires":9}"#, "expected a text in quotes for \"expires\""),
            ("3", "integer `3`, expected an object"),
        ] {
            let error = refused(line);
            assert!(error.contains(why) && !error.contains("Stored"), "{line}: {error}");
        }
    }

    #[test]
    fn the_reply_to_a_look_up_is_an_entry() {
        let line = br#"{"key":"a","value":"b","version":7,"expires":null}"#;

        let entry = LoadedEntry::read(line, Utc::now()).unwrap();

        assert_eq!((&*entry.key, &*entry.value, entry.ttl), ("a", &b"b"[..], None));
    }
}
