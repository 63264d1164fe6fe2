//! Lists of keys and values as core modules pass them: each text with its length before it, in four bytes, little-endian.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::store::{KeyPage, Versioned};

/// Reads texts until the end; `None` if one is cut short.
pub(super) fn read(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let (record, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        records.push(record);
        bytes = rest;
    }
    Some(records)
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

    #[test]
    fn records_are_read_whole_or_not_at_all() {
        assert_eq!(read(b"\x01\0\0\0a\0\0\0\0"), Some(vec![&b"a"[..], b""]));
        for torn in [&b"\x01"[..], b"\x02\0\0\0a", b"\xff\xff\xff\xffa"] {
            assert_eq!(read(torn), None);
        }
        let listed = KeyPage { keys: vec!["k".to_owned()], cursor: Some("k".to_owned()) };
        assert_eq!(&page(&listed)[..], b"\x01\x01\0\0\0k\x01\0\0\0k");
        assert_eq!(&values(&[None])[..], b"\0");
    }
}
