//! Values and results as core modules pass them: each value with a byte before it that tells its type.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::database::{MAX_PARAMETERS, SqlResult, SqlValue};

/// The bytes that tell the type of a value. Numbers are little-endian; a text or blob has its length before it.
const NULL: u8 = 0;
const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// Reads values until the end; `None` if one is cut short, has an unknown type, or a text is not UTF-8. Stops when there
/// is one more than a statement may have: a byte of the guest's would otherwise be a value in memory.
pub(super) fn read(mut bytes: &[u8]) -> Option<Vec<SqlValue>> {
    let mut values = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (value, rest) = match *kind {
            NULL => (SqlValue::Null, rest),
            INTEGER => {
                let (number, rest) = rest.split_first_chunk()?;
                (SqlValue::Integer(i64::from_le_bytes(*number)), rest)
            }
            REAL => {
                let (number, rest) = rest.split_first_chunk()?;
                (SqlValue::Real(f64::from_le_bytes(*number)), rest)
            }
            TEXT | BLOB => {
                let (length, rest) = rest.split_first_chunk()?;
                let (content, rest) =
                    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
                let value = match *kind {
                    TEXT => SqlValue::Text(std::str::from_utf8(content).ok()?.to_owned()),
                    _ => SqlValue::Blob(content.to_vec()),
                };
                (value, rest)
            }
            _ => return None,
        };
        values.push(value);
        if values.len() > MAX_PARAMETERS {
            break;
        }
        bytes = rest;
    }
    Some(values)
}

/// Writes a result: the number of columns, their names, and the values of all rows.
pub(super) fn result(result: &SqlResult) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u32_le(length(result.columns.len()));
    result.columns.iter().for_each(|name| put(&mut bytes, name.as_bytes()));
    for value in result.rows.iter().flatten() {
        match value {
            SqlValue::Null => bytes.put_u8(NULL),
            SqlValue::Integer(number) => {
                bytes.put_u8(INTEGER);
                bytes.put_i64_le(*number);
            }
            SqlValue::Real(number) => {
                bytes.put_u8(REAL);
                bytes.put_f64_le(*number);
            }
            SqlValue::Text(text) => {
                bytes.put_u8(TEXT);
                put(&mut bytes, text.as_bytes());
            }
            SqlValue::Blob(blob) => {
                bytes.put_u8(BLOB);
                put(&mut bytes, blob);
            }
        }
    }
    bytes.freeze()
}

fn put(into: &mut BytesMut, content: &[u8]) {
    into.put_u32_le(length(content.len()));
    into.put_slice(content);
}

/// Converts a size. All sizes here are far below 4 GiB: those of results are bounded.
fn length(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_whole_or_not_at_all() {
        let values = vec![
            SqlValue::Null,
            SqlValue::Integer(-2),
            SqlValue::Real(0.5),
            SqlValue::Text("é".to_owned()),
            SqlValue::Blob(vec![255]),
        ];
        let (columns, rows) = (vec!["a".to_owned()], vec![values.clone()]);
        let one = SqlResult { columns, rows, ..SqlResult::default() };

        let written = result(&one);

        assert_eq!(&written[..9], b"\x01\0\0\0\x01\0\0\0a");
        assert_eq!(read(&written[9..]), Some(values));
        for torn in [
            &b"\x01"[..],
            b"\x02\0",
            b"\x03\x02\0\0\0a",
            b"\x03\x01\0\0\0\xff",
            b"\x04\xff\xff\xff\xff",
            b"\x05",
        ] {
            assert_eq!(read(torn), None, "{torn:?}");
        }
    }

    #[test]
    fn no_more_values_are_read_than_are_refused() {
        let many = [NULL; 10 * MAX_PARAMETERS];

        assert_eq!(read(&many).unwrap().len(), MAX_PARAMETERS + 1);
        assert_eq!(read(&many[..MAX_PARAMETERS]).unwrap().len(), MAX_PARAMETERS);
    }
}
