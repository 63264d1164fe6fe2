//! Values of PostgreSQL's types, to and from ours.
//!
//! A parameter is sent as text, which the server reads as the type that the statement wants there. A result comes in
//! binary form. Numbers, texts and bytes stay as they are; truth values become 0 and 1. A value of any other type becomes
//! the text that the server would read as the same value.

use std::error::Error;
use std::ops::Bound;

use bytes::{BufMut as _, BytesMut};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta};
use data_encoding::HEXLOWER;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use super::numeric;
use crate::database::literal;
use crate::database::value::SqlValue;

type Fallible<T> = Result<T, Box<dyn Error + Sync + Send>>;

/// A parameter.
#[derive(Debug)]
pub(super) struct PostgresParameter<'v>(pub(super) &'v SqlValue);

impl ToSql for PostgresParameter<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Fallible<IsNull> {
        match self.0 {
            SqlValue::Null => return Ok(IsNull::Yes),
            SqlValue::Integer(number) => out.put_slice(number.to_string().as_bytes()),
            SqlValue::Real(number) => out.put_slice(number.to_string().as_bytes()),
            SqlValue::Text(text) => out.put_slice(text.as_bytes()),
            SqlValue::Blob(bytes) if *kind == Type::BYTEA => out.put_slice(bytes),
            SqlValue::Blob(_) => return Err(format!("a blob is given for a parameter of type {kind}").into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self.0 {
            SqlValue::Blob(_) => Format::Binary,
            SqlValue::Null | SqlValue::Integer(_) | SqlValue::Real(_) | SqlValue::Text(_) => Format::Text,
        }
    }

    to_sql_checked!();
}

/// A value of a result, as the server sent it. `None` is NULL.
pub(super) struct RawValue<'r>(Option<(Type, &'r [u8])>);

impl RawValue<'_> {
    /// Returns its bytes.
    pub(super) fn length(&self) -> usize {
        self.0.as_ref().map_or(0, |(_, raw)| raw.len())
    }

    /// Converts it.
    ///
    /// # Errors
    /// It is of a type that has no value here, or out of range.
    pub(super) fn value(&self) -> Fallible<SqlValue> {
        self.0.as_ref().map_or(Ok(SqlValue::Null), |(kind, raw)| value(kind, raw))
    }
}

impl<'r> FromSql<'r> for RawValue<'r> {
    fn from_sql(kind: &Type, raw: &'r [u8]) -> Fallible<RawValue<'r>> {
        Ok(RawValue(Some((kind.clone(), raw))))
    }

    fn from_sql_null(_: &Type) -> Fallible<RawValue<'r>> {
        Ok(RawValue(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Returns the name of a type, of a domain that of the type below it.
pub(super) fn type_name(kind: &Type) -> &str {
    match kind.kind() {
        Kind::Domain(inner) => type_name(inner),
        _ => kind.name(),
    }
}

fn value(kind: &Type, raw: &[u8]) -> Fallible<SqlValue> {
    let text =
        |raw: &[u8]| -> Fallible<SqlValue> { Ok(SqlValue::Text(std::str::from_utf8(raw)?.to_owned())) };
    let far = || format!("a {kind} is too far away: select it as text, with CAST(column AS text)");
    match kind.kind() {
        Kind::Domain(inner) => return value(inner, raw),
        Kind::Enum(_) => return text(raw),
        Kind::Array(member) => return array(kind, member, raw),
        Kind::Range(member) => return range(member, raw),
        _ => {}
    }
    Ok(match *kind {
        Type::BOOL => SqlValue::Integer(i64::from(bool::from_sql(kind, raw)?)),
        Type::INT2 => SqlValue::Integer(i16::from_sql(kind, raw)?.into()),
        Type::INT4 => SqlValue::Integer(i32::from_sql(kind, raw)?.into()),
        Type::INT8 => SqlValue::Integer(i64::from_sql(kind, raw)?),
        Type::OID => SqlValue::Integer(u32::from_sql(kind, raw)?.into()),
        Type::FLOAT4 => SqlValue::Real(f32::from_sql(kind, raw)?.into()),
        Type::FLOAT8 => SqlValue::Real(f64::from_sql(kind, raw)?),
        Type::BYTEA => SqlValue::Blob(raw.to_vec()),
        Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::NAME
        | Type::UNKNOWN
        | Type::JSON
        | Type::XML
        | Type::CHAR => text(raw)?,
        // A version, and then the text.
        Type::JSONB => text(raw.get(1..).unwrap_or_default())?,
        Type::VOID => SqlValue::Null,
        Type::NUMERIC => SqlValue::Text(numeric::text(raw).ok_or("a numeric that cannot be read")?),
        Type::UUID => SqlValue::Text(uuid(raw)),
        Type::DATE => SqlValue::Text(date(i32::from_sql(&Type::INT4, raw)?).ok_or_else(far)?),
        Type::TIME => SqlValue::Text(time(i64::from_sql(&Type::INT8, raw)?)),
        Type::TIMESTAMP => SqlValue::Text(timestamp(i64::from_sql(&Type::INT8, raw)?, "").ok_or_else(far)?),
        Type::TIMESTAMPTZ => {
            SqlValue::Text(timestamp(i64::from_sql(&Type::INT8, raw)?, "Z").ok_or_else(far)?)
        }
        Type::INTERVAL => SqlValue::Text(interval(raw).ok_or("an interval that cannot be read")?),
        _ => return Err(unreadable(kind).into()),
    })
}

fn unreadable(kind: &Type) -> String {
    format!("a column has the type {kind}: select it as text, with CAST(column AS text)")
}

/// Reads an array of one dimension, item by item: as values they would take many times as much memory. Source:
/// PostgreSQL, `array_send`.
fn array(kind: &Type, member: &Type, raw: &[u8]) -> Fallible<SqlValue> {
    /// The number of dimensions, a flag and the type; of the dimension, its length and its lower bound.
    const HEAD: usize = 20;
    let dimensions = raw.first_chunk().map(|word| i32::from_be_bytes(*word));
    let mut rest = match dimensions {
        Some(0) => &[][..],
        Some(1) => raw.get(HEAD..).ok_or("an array that is cut short")?,
        _ => return Err(unreadable(kind).into()),
    };
    let mut wrong = None;
    let items = std::iter::from_fn(|| match (rest.is_empty(), item(member, &mut rest)) {
        (true, _) => None,
        (false, Ok(item)) => Some(item),
        (false, Err(error)) => {
            wrong = Some(error);
            None
        }
    });
    let text = literal::array(items);
    wrong.map_or(Ok(SqlValue::Text(text)), Err)
}

/// Reads an item of an array; `None` is NULL.
fn item(member: &Type, rest: &mut &[u8]) -> Fallible<Option<String>> {
    let (length, bytes) = rest.split_first_chunk().ok_or("an array that is cut short")?;
    let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
        *rest = bytes;
        return Ok(None);
    };
    let (content, after) = bytes.split_at_checked(length).ok_or("an array that is cut short")?;
    *rest = after;
    Ok(as_text(value(member, content)?))
}

/// Reads a range. Source: PostgreSQL, `range_send`.
fn range(member: &Type, raw: &[u8]) -> Fallible<SqlValue> {
    const EMPTY: u8 = 0x01;
    const LOWER: [u8; 2] = [0x02, 0x08];
    const UPPER: [u8; 2] = [0x04, 0x10];
    let (flags, mut rest) = raw.split_first().ok_or("a range that cannot be read")?;
    if flags & EMPTY != 0 {
        return Ok(SqlValue::Text("empty".to_owned()));
    }
    let mut bound = |[inclusive, infinite]: [u8; 2]| -> Fallible<Bound<String>> {
        if flags & infinite != 0 {
            return Ok(Bound::Unbounded);
        }
        let (length, bytes) = rest.split_first_chunk().ok_or("a range that is cut short")?;
        let (content, after) = bytes
            .split_at_checked(usize::try_from(u32::from_be_bytes(*length))?)
            .ok_or("a range that is cut short")?;
        rest = after;
        let text = as_text(value(member, content)?).unwrap_or_default();
        Ok(if flags & inclusive != 0 { Bound::Included(text) } else { Bound::Excluded(text) })
    };
    let (lower, upper) = (bound(LOWER)?, bound(UPPER)?);
    let text = literal::range(lower.as_ref().map(String::as_str), upper.as_ref().map(String::as_str));
    Ok(SqlValue::Text(text))
}

/// Reads an interval. Source: PostgreSQL, `interval_send`.
fn interval(raw: &[u8]) -> Option<String> {
    let (micros, rest) = raw.split_first_chunk()?;
    let (days, rest) = rest.split_first_chunk()?;
    let (months, _) = rest.split_first_chunk()?;
    Some(literal::interval(
        i64::from_be_bytes(*micros),
        i32::from_be_bytes(*days),
        i32::from_be_bytes(*months),
    ))
}

/// Returns a value as an array or range has it; `None` is NULL.
fn as_text(value: SqlValue) -> Option<String> {
    match value {
        SqlValue::Null => None,
        SqlValue::Integer(number) => Some(number.to_string()),
        SqlValue::Real(number) => Some(number.to_string()),
        SqlValue::Text(text) => Some(text),
        SqlValue::Blob(bytes) => Some(format!("\\x{}", HEXLOWER.encode(&bytes))),
    }
}

fn uuid(raw: &[u8]) -> String {
    let digits = HEXLOWER.encode(raw);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// The day that dates and times count from.
fn epoch() -> NaiveDate {
    NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default()
}

/// Formats a date; `None` if it is beyond the years that are known here, 262,000 each way.
fn date(days: i32) -> Option<String> {
    let distance = Days::new(u64::from(days.unsigned_abs()));
    match days {
        i32::MAX => Some("infinity".to_owned()),
        i32::MIN => Some("-infinity".to_owned()),
        0.. => epoch().checked_add_days(distance).map(|date| date.to_string()),
        _ => epoch().checked_sub_days(distance).map(|date| date.to_string()),
    }
}

fn time(micros: i64) -> String {
    /// The end of a day is a time of PostgreSQL's.
    const DAY: i64 = 24 * 3600 * 1_000_000;
    match micros {
        DAY => "24:00:00".to_owned(),
        micros => (NaiveTime::MIN + TimeDelta::microseconds(micros)).to_string(),
    }
}

/// Formats a time as RFC 3339 does; `None` if it is beyond the years that are known here.
fn timestamp(micros: i64, zone: &str) -> Option<String> {
    /// Microseconds from 1970 to 2000.
    const TO_2000: i64 = 946_684_800_000_000;
    match micros {
        i64::MAX => Some("infinity".to_owned()),
        i64::MIN => Some("-infinity".to_owned()),
        micros => {
            let moment = micros.checked_add(TO_2000).and_then(DateTime::from_timestamp_micros);
            moment.map(|moment| format!("{}{zone}", moment.format("%Y-%m-%dT%H:%M:%S%.6f")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_text() {
        assert_eq!(
            (date(0), date(-1), date(i32::MAX)),
            (Some("2000-01-01".into()), Some("1999-12-31".into()), Some("infinity".into()))
        );
        assert_eq!((time(3_600_000_000), time(86_400_000_000)), ("01:00:00".into(), "24:00:00".into()));
        assert_eq!(timestamp(1_500_000, "Z").as_deref(), Some("2000-01-01T00:00:01.500000Z"));
        // The last day of PostgreSQL, in the year 5,874,897.
        assert_eq!((date(2_145_031_948), timestamp(i64::MAX - 1, "")), (None, None));
        assert_eq!(uuid(&[0x12; 16]), "12121212-1212-1212-1212-121212121212");
    }
}
