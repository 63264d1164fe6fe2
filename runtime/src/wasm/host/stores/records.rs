//! Lists of keys and values as core modules pass them: each text with its length before it, in four bytes, little-endian.

use std::collections::HashSet;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::grants::{StoreFailure, invalid};
use crate::store::{KeyPage, MAX_BATCH, Versioned};

/// Reads a list of texts.
///
/// # Errors
/// There are more than [`MAX_BATCH`], one is cut short, or one is not UTF-8.
pub(super) fn texts(list: &[u8]) -> Result<Vec<String>, StoreFailure> {
    let records = read(list, MAX_BATCH)?;
    records.into_iter().map(text).collect()
}

/// Reads a list of keys and values, which take turns. Of a key that is there twice, the last value is returned.
///
/// Each value has memory of its own: a slice of the list would keep the whole list for as long as a store has the value,
/// and no quota counts that.
///
/// # Errors
/// There are more than [`MAX_BATCH`], one is cut short, or a key is not UTF-8.
pub(super) fn entries(list: &[u8]) -> Result<Vec<(String, Bytes)>, StoreFailure> {
    let records = read(list, 2 * MAX_BATCH)?;
    if records.len() % 2 != 0 {
        return Err(cut_short());
    }
    let mut seen = HashSet::new();
    let last: Vec<_> = records.chunks_exact(2).rev().filter(|pair| seen.insert(pair[0])).collect();
    let entry = |pair: &[&[u8]]| Ok((text(pair[0])?, Bytes::copy_from_slice(pair[1])));
    last.into_iter().rev().map(entry).collect()
}

/// Reads one text.
///
/// # Errors
/// It is not UTF-8.
pub(super) fn text(bytes: &[u8]) -> Result<String, StoreFailure> {
    let text = std::str::from_utf8(bytes).map(str::to_owned);
    text.map_err(|_| invalid("a key is UTF-8; encode other bytes"))
}

fn cut_short() -> StoreFailure {
    invalid("the list is cut short")
}

/// Reads texts until the end. Looks at no more than `max`, since an empty text takes four times as much memory here as
/// in the list.
fn read(mut bytes: &[u8], max: usize) -> Result<Vec<&[u8]>, StoreFailure> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        if records.len() == max {
            return Err(invalid(&format!("a batch has {MAX_BATCH} keys at most: split it")));
        }
        let (record, rest) = first(bytes).ok_or_else(cut_short)?;
        records.push(record);
        bytes = rest;
    }
    Ok(records)
}

/// Reads the first text, and returns what is behind it; `None` if it is cut short.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

fn put(into: &mut BytesMut, record: &[u8]) {
    // No record is longer than a value, which is far below this.
    into.put_u32_le(u32::try_from(record.len()).unwrap_or(u32::MAX));
    into.put_slice(record);
}

/// Writes a page: a byte that is 1 if more follows, and the keys. The cursor is the text before the keys.
pub(super) fn page(page: &KeyPage) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(u8::from(page.cursor.is_some()));
    page.cursor.iter().chain(&page.keys).for_each(|text| put(&mut bytes, text.as_bytes()));
    bytes.freeze()
}

/// Writes values: a byte that is 1 if there is one, and then its version in eight bytes and the value.
pub(super) fn values(values: &[Option<Versioned>]) -> Bytes {
    let mut bytes = BytesMut::new();
    for value in values {
        bytes.put_u8(u8::from(value.is_some()));
        if let Some(Versioned { value, version, .. }) = value {
            bytes.put_u64_le(*version);
            put(&mut bytes, value);
        }
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, KeyValue, StoreOptions};

    /// Writes a list as a guest does.
    fn list(records: &[&[u8]]) -> Bytes {
        let mut list = BytesMut::new();
        records.iter().for_each(|record| put(&mut list, record));
        list.freeze()
    }

    #[tokio::test]
    async fn a_byte_in_a_store_does_not_keep_the_batch_that_brought_it() {
        let options = StoreOptions {
            name: "a".to_owned(),
            url: "memory:".parse().unwrap(),
            quota: 64 << 10,
            durability: Durability::Sync,
        };
        let store = KeyValue::open(&options).await.unwrap();
        let large = vec![0; 990_000];
        let batch = list(&[b"k", &large, b"l", b"2", b"k", &large, b"k", b"1"]);

        let written = entries(&batch).unwrap();

        // The large values are gone before the store is asked, and the small ones belong to nobody else.
        let kept: Vec<_> = written.iter().map(|(key, value)| (key.as_str(), &value[..])).collect();
        assert_eq!(kept, [("l", &b"2"[..]), ("k", &b"1"[..])]);
        assert!(batch.is_unique() && written.iter().all(|(_, value)| value.is_unique()));
        store.set_many(written).await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap().value, &b"1"[..]);
    }

    #[test]
    fn a_list_of_millions_of_empty_keys_is_refused_by_its_first_few() {
        let keys = |count: usize| vec![0; 4 * count];

        assert_eq!(texts(&keys(MAX_BATCH)).unwrap().len(), MAX_BATCH);
        // Bytes behind the last allowed key are not read, so they may be malformed.
        let mut longer = keys(MAX_BATCH);
        longer.extend([0xff; 5]);
        for list in [keys(MAX_BATCH + 1), keys(2 << 20), longer] {
            assert_eq!(texts(&list).unwrap_err().message, "a batch has 256 keys at most: split it");
        }
        assert_eq!(entries(&keys(2 * MAX_BATCH)).unwrap().len(), 1);
        assert!(entries(&keys(2 * MAX_BATCH + 2)).is_err());
    }

    #[test]
    fn records_are_read_whole_or_not_at_all() {
        assert_eq!(read(b"\x01\0\0\0a\0\0\0\0", 2).unwrap(), [&b"a"[..], b""]);
        for torn in [&b"\x01"[..], b"\x02\0\0\0a", b"\xff\xff\xff\xffa"] {
            assert_eq!(read(torn, 2).unwrap_err().message, "the list is cut short");
        }
        assert!(entries(b"\x01\0\0\0a").is_err(), "a key without its value");
        let listed = KeyPage { keys: vec!["k".to_owned()], cursor: Some("k".to_owned()) };
        assert_eq!(&page(&listed)[..], b"\x01\x01\0\0\0k\x01\0\0\0k");
        assert_eq!(&values(&[None])[..], b"\0");
    }
}
