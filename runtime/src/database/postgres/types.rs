//! Values of PostgreSQL's types, to and from ours.
//!
//! A parameter is sent as text, which the server reads as the type that the statement wants there. A result comes in
//! binary form: numbers, texts and bytes as they are, truth values as 0 and 1, and what has no type of ours as text, which
//! the server would read as the same value.

use std::error::Error;
use std::ops::Bound;

use bytes::{BufMut as _, BytesMut};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta};
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

/// A value of a result.
pub(super) struct PostgresValue(pub(super) SqlValue);

impl<'r> FromSql<'r> for PostgresValue {
    fn from_sql(kind: &Type, raw: &'r [u8]) -> Fallible<PostgresValue> {
        value(kind, raw).map(PostgresValue)
    }

    fn from_sql_null(_: &Type) -> Fallible<PostgresValue> {
        Ok(PostgresValue(SqlValue::Null))
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
    match kind.kind() {
        Kind::Domain(inner) => return value(inner, raw),
        Kind::Enum(_) => return text(raw),
        Kind::Array(_) => return array(kind, raw),
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
        Type::DATE => SqlValue::Text(date(i32::from_sql(&Type::INT4, raw)?)),
        Type::TIME => SqlValue::Text(time(i64::from_sql(&Type::INT8, raw)?)),
        Type::TIMESTAMP => SqlValue::Text(timestamp(i64::from_sql(&Type::INT8, raw)?, "")),
        Type::TIMESTAMPTZ => SqlValue::Text(timestamp(i64::from_sql(&Type::INT8, raw)?, "Z")),
        Type::INTERVAL => SqlValue::Text(interval(raw).ok_or("an interval that cannot be read")?),
        _ => return Err(unreadable(kind).into()),
    })
}

fn unreadable(kind: &Type) -> String {
    format!("a column has the type {kind}: select it as text, with CAST(column AS text)")
}

/// Reads an array of one dimension.
fn array(kind: &Type, raw: &[u8]) -> Fallible<SqlValue> {
    let items = Vec::<PostgresValue>::from_sql(kind, raw).map_err(|_| unreadable(kind))?;
    Ok(SqlValue::Text(literal::array(items.into_iter().map(|PostgresValue(item)| as_text(item)))))
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
        SqlValue::Blob(bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(format!("\\x{digits}"))
        }
    }
}

fn uuid(raw: &[u8]) -> String {
    let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// The day that dates and times count from.
fn epoch() -> NaiveDate {
    NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default()
}

fn date(days: i32) -> String {
    let distance = Days::new(u64::from(days.unsigned_abs()));
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        0.. => epoch().checked_add_days(distance).map_or_else(String::new, |date| date.to_string()),
        _ => epoch().checked_sub_days(distance).map_or_else(String::new, |date| date.to_string()),
    }
}

fn time(micros: i64) -> String {
    (NaiveTime::MIN + TimeDelta::microseconds(micros)).to_string()
}

/// Formats a time as RFC 3339 does.
fn timestamp(micros: i64, zone: &str) -> String {
    /// Microseconds from 1970 to 2000.
    const TO_2000: i64 = 946_684_800_000_000;
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => {
            let moment = micros.checked_add(TO_2000).and_then(DateTime::from_timestamp_micros);
            moment.map_or_else(String::new, |moment| {
                format!("{}{zone}", moment.format("%Y-%m-%dT%H:%M:%S%.6f"))
            })
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
            ("2000-01-01".into(), "1999-12-31".into(), "infinity".into())
        );
        assert_eq!(time(3_600_000_000), "01:00:00");
        assert_eq!(timestamp(1_500_000, "Z"), "2000-01-01T00:00:01.500000Z");
        assert_eq!(uuid(&[0x12; 16]), "12121212-1212-1212-1212-121212121212");
    }
}
