//! `portcullis_sql_v1`, the daemon's functions for core modules (wasm32-wasip1).

use crate::sql::{Rows, SqlError, SqlErrorKind, Value};

/// Returned by a function that failed.
const FAILED: i32 = -1;

/// The size of the first buffer for a message in bytes. Most messages fit into it.
const FIRST: usize = 1024;

/// The bytes that tell the type of a value.
const NULL: u8 = 0;
const INTEGER: u8 = 1;
const REAL: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

mod import {
    #[link(wasm_import_module = "portcullis_sql_v1")]
    unsafe extern "C" {
        pub(super) fn open(name: *const u8, size: usize) -> i32;
        pub(super) fn run(
            database: i32,
            sql: *const u8,
            size: usize,
            parameters: *const u8,
            parameters_size: usize,
            changed: *mut u64,
        ) -> i32;
        pub(super) fn begin(database: i32) -> i32;
        pub(super) fn commit(database: i32) -> i32;
        pub(super) fn rollback(database: i32) -> i32;
        pub(super) fn result(buffer: *mut u8, size: usize) -> i32;
        pub(super) fn error(buffer: *mut u8, size: usize) -> i32;
    }
}

/// A database by its number.
#[derive(Debug)]
pub(in crate::sql) struct Handle(i32);

impl Handle {
    pub(in crate::sql) fn open(name: &str) -> Result<Handle, SqlError> {
        // SAFETY: the pointer and the length are those of one string, which is only read.
        checked(unsafe { import::open(name.as_ptr(), name.len()) }).map(Handle)
    }

    pub(in crate::sql) fn run(&self, sql: &str, parameters: &[Value]) -> Result<(Rows, u64), SqlError> {
        let parameters = encoded(parameters)?;
        let mut changed = 0;
        // SAFETY: the pointers and lengths are those of a string and a buffer, which are only read, and of a number,
        // which this function owns.
        let code = unsafe {
            import::run(
                self.0,
                sql.as_ptr(),
                sql.len(),
                parameters.as_ptr(),
                parameters.len(),
                &raw mut changed,
            )
        };
        let length = usize::try_from(checked(code)?).unwrap_or_default();
        let mut result = vec![0; length];
        // SAFETY: the pointer and the length are those of one buffer, which this function owns.
        unsafe { import::result(result.as_mut_ptr(), result.len()) };
        Ok((decoded(&result).ok_or_else(unreadable)?, changed))
    }

    pub(in crate::sql) fn begin(&self) -> Result<(), SqlError> {
        // SAFETY: no memory is passed.
        checked(unsafe { import::begin(self.0) }).map(drop)
    }

    pub(in crate::sql) fn commit(&self) -> Result<(), SqlError> {
        // SAFETY: no memory is passed.
        checked(unsafe { import::commit(self.0) }).map(drop)
    }

    pub(in crate::sql) fn rollback(&self) -> Result<(), SqlError> {
        // SAFETY: no memory is passed.
        checked(unsafe { import::rollback(self.0) }).map(drop)
    }
}

/// Writes values, each with a byte for its type before it.
fn encoded(values: &[Value]) -> Result<Vec<u8>, SqlError> {
    let mut bytes = Vec::new();
    for value in values {
        match value {
            Value::Null => bytes.push(NULL),
            Value::Integer(number) => {
                bytes.push(INTEGER);
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            Value::Real(number) => {
                bytes.push(REAL);
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            Value::Text(text) => put(&mut bytes, TEXT, text.as_bytes())?,
            Value::Blob(blob) => put(&mut bytes, BLOB, blob)?,
        }
    }
    Ok(bytes)
}

fn put(bytes: &mut Vec<u8>, kind: u8, content: &[u8]) -> Result<(), SqlError> {
    let length = u32::try_from(content.len())
        .map_err(|_| SqlError::new(SqlErrorKind::Invalid, "a value is too long"))?;
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(content);
    Ok(())
}

/// Reads a result: the number of columns, their names, and the values of all rows.
fn decoded(mut bytes: &[u8]) -> Option<Rows> {
    let count = length(&mut bytes)?;
    let mut columns = Vec::new();
    for _ in 0..count {
        columns.push(String::from_utf8(content(&mut bytes)?.to_vec()).ok()?);
    }
    let mut values = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        bytes = rest;
        values.push(match *kind {
            NULL => Value::Null,
            INTEGER => Value::Integer(i64::from_le_bytes(eight(&mut bytes)?)),
            REAL => Value::Real(f64::from_le_bytes(eight(&mut bytes)?)),
            TEXT => Value::Text(String::from_utf8(content(&mut bytes)?.to_vec()).ok()?),
            BLOB => Value::Blob(content(&mut bytes)?.to_vec()),
            _ => return None,
        });
    }
    Some(Rows::new(columns, values))
}

fn eight(bytes: &mut &[u8]) -> Option<[u8; 8]> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*number)
}

fn length(bytes: &mut &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

fn content<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = length(bytes)?;
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(content)
}

fn unreadable() -> SqlError {
    SqlError::new(SqlErrorKind::Other, "the daemon's answer cannot be read")
}

fn checked(outcome: i32) -> Result<i32, SqlError> {
    if outcome == FAILED { Err(last_error()) } else { Ok(outcome) }
}

/// Returns why the last function failed: `CODE: MESSAGE`.
fn last_error() -> SqlError {
    let mut text = vec![0; FIRST];
    loop {
        // SAFETY: the pointer and the length are those of one buffer, which this function owns.
        let length = unsafe { import::error(text.as_mut_ptr(), text.len()) };
        let length = usize::try_from(length).unwrap_or_default();
        let is_whole = length <= text.len();
        text.resize(length, 0);
        if is_whole {
            break;
        }
    }
    SqlError::parse(&String::from_utf8_lossy(&text))
}
