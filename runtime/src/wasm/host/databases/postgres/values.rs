//! Values of `spin:postgres@4`, to and from ours, by the types that the server names.

use std::ops::Bound;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};

use super::bindings::postgres::{DbDataType, DbValue, Interval, ParameterValue, RangeBoundKind};
use crate::database::{SqlValue, literal};

/// A bound of a range, or `None` where it has no end.
type PostgresRangeEnd<T> = Option<(T, RangeBoundKind)>;

/// Converts a parameter. The server reads a text as the type that the statement wants there.
///
/// # Errors
/// What is wrong with it.
pub(super) fn ours(value: ParameterValue) -> Result<SqlValue, String> {
    Ok(SqlValue::Text(match value {
        ParameterValue::DbNull => return Ok(SqlValue::Null),
        ParameterValue::Int8(number) => return Ok(SqlValue::Integer(number.into())),
        ParameterValue::Int16(number) => return Ok(SqlValue::Integer(number.into())),
        ParameterValue::Int32(number) => return Ok(SqlValue::Integer(number.into())),
        ParameterValue::Int64(number) => return Ok(SqlValue::Integer(number)),
        ParameterValue::Floating64(number) => return Ok(SqlValue::Real(number)),
        ParameterValue::Binary(bytes) => return Ok(SqlValue::Blob(bytes)),
        // As a number of 64 bits it would have other digits.
        ParameterValue::Floating32(number) => number.to_string(),
        ParameterValue::Boolean(is_true) => is_true.to_string(),
        ParameterValue::Str(text) | ParameterValue::Uuid(text) | ParameterValue::Decimal(text) => text,
        ParameterValue::Jsonb(bytes) => {
            String::from_utf8(bytes).map_err(|_| "a JSON value is not UTF-8".to_owned())?
        }
        ParameterValue::Date((year, month, day)) => {
            let (date, era) = written_date(date(year, month, day)?);
            format!("{date}{era}")
        }
        ParameterValue::Time((hour, minute, second, nanos)) => {
            time(hour, minute, second, nanos)?.format("%H:%M:%S%.9f").to_string()
        }
        ParameterValue::Datetime((year, month, day, hour, minute, second, nanos)) => {
            written_moment(date(year, month, day)?.and_time(time(hour, minute, second, nanos)?))
        }
        ParameterValue::Timestamp(seconds) => {
            let moment = DateTime::from_timestamp(seconds, 0);
            written_moment(moment.ok_or_else(|| format!("no time: {seconds} seconds"))?.naive_utc())
        }
        ParameterValue::RangeInt32((lower, upper)) => written_range(lower, upper),
        ParameterValue::RangeInt64((lower, upper)) => written_range(lower, upper),
        ParameterValue::RangeDecimal((lower, upper)) => written_range(lower, upper),
        ParameterValue::ArrayInt32(items) => written_array(items),
        ParameterValue::ArrayInt64(items) => written_array(items),
        ParameterValue::ArrayDecimal(items) | ParameterValue::ArrayStr(items) => literal::array(items),
        ParameterValue::Interval(Interval { micros, days, months }) => {
            literal::interval(micros, days, months)
        }
    }))
}

/// Returns the type of a column by its name in PostgreSQL.
pub(super) fn data_type(name: &str) -> DbDataType {
    match name {
        "bool" => DbDataType::Boolean,
        "int2" => DbDataType::Int16,
        "int4" => DbDataType::Int32,
        "int8" => DbDataType::Int64,
        "float4" => DbDataType::Floating32,
        "float8" => DbDataType::Floating64,
        "text" | "varchar" | "bpchar" => DbDataType::Str,
        "bytea" => DbDataType::Binary,
        "date" => DbDataType::Date,
        "time" => DbDataType::Time,
        "timestamp" | "timestamptz" => DbDataType::Datetime,
        "uuid" => DbDataType::Uuid,
        "jsonb" => DbDataType::Jsonb,
        "numeric" => DbDataType::Decimal,
        "int4range" => DbDataType::RangeInt32,
        "int8range" => DbDataType::RangeInt64,
        "numrange" => DbDataType::RangeDecimal,
        "_int4" => DbDataType::ArrayInt32,
        "_int8" => DbDataType::ArrayInt64,
        "_numeric" => DbDataType::ArrayDecimal,
        "_text" | "_varchar" | "_bpchar" => DbDataType::ArrayStr,
        "interval" => DbDataType::Interval,
        other => DbDataType::Other(other.to_owned()),
    }
}

/// Converts a value of a column of this type. `None` if the type here has no such value, such as an infinite date.
pub(super) fn theirs(kind: &DbDataType, value: SqlValue) -> Option<DbValue> {
    Some(match (kind, value) {
        (_, SqlValue::Null) => DbValue::DbNull,
        (DbDataType::Boolean, SqlValue::Integer(number)) => DbValue::Boolean(number != 0),
        (DbDataType::Int16, SqlValue::Integer(number)) => DbValue::Int16(number.try_into().ok()?),
        (DbDataType::Int32, SqlValue::Integer(number)) => DbValue::Int32(number.try_into().ok()?),
        (DbDataType::Int64, SqlValue::Integer(number)) => DbValue::Int64(number),
        // It came as one.
        (DbDataType::Floating32, SqlValue::Real(number)) => DbValue::Floating32(number as f32),
        (DbDataType::Floating64, SqlValue::Real(number)) => DbValue::Floating64(number),
        (DbDataType::Binary, SqlValue::Blob(bytes)) => DbValue::Binary(bytes),
        (kind, SqlValue::Text(text)) => from_text(kind, text)?,
        (_, SqlValue::Integer(number)) => DbValue::Unsupported(number.to_string().into_bytes()),
        (_, SqlValue::Real(number)) => DbValue::Unsupported(number.to_string().into_bytes()),
        (_, SqlValue::Blob(bytes)) => DbValue::Unsupported(bytes),
    })
}

/// Returns the bytes of memory that a value takes. An array may take many times the bytes of its text.
pub(super) fn size(value: &DbValue) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let end = |end: &PostgresRangeEnd<String>| end.as_ref().map_or(0, |(text, _)| text.len());
    let content = match value {
        DbValue::Str(text) | DbValue::Uuid(text) | DbValue::Decimal(text) => text.len(),
        DbValue::Binary(bytes) | DbValue::Jsonb(bytes) | DbValue::Unsupported(bytes) => bytes.len(),
        DbValue::RangeDecimal((lower, upper)) => end(lower) + end(upper),
        DbValue::ArrayInt32(items) => size_of_val(&items[..]),
        DbValue::ArrayInt64(items) => size_of_val(&items[..]),
        DbValue::ArrayDecimal(items) | DbValue::ArrayStr(items) => {
            size_of_val(&items[..]) + items.iter().map(text).sum::<usize>()
        }
        _ => 0,
    };
    size_of::<DbValue>() + content
}

fn from_text(kind: &DbDataType, text: String) -> Option<DbValue> {
    Some(match kind {
        DbDataType::Str => DbValue::Str(text),
        DbDataType::Uuid => DbValue::Uuid(text),
        DbDataType::Jsonb => DbValue::Jsonb(text.into_bytes()),
        DbDataType::Decimal => DbValue::Decimal(text),
        DbDataType::Date => DbValue::Date(date_parts(NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?)?),
        DbDataType::Time => DbValue::Time(time_parts(NaiveTime::parse_from_str(&text, "%H:%M:%S%.f").ok()?)?),
        DbDataType::Datetime => {
            let text = text.trim_end_matches('Z');
            let moment = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
            let (year, month, day) = date_parts(moment.date())?;
            let (hour, minute, second, nanos) = time_parts(moment.time())?;
            DbValue::Datetime((year, month, day, hour, minute, second, nanos))
        }
        DbDataType::RangeInt32 => DbValue::RangeInt32(range(&text)?),
        DbDataType::RangeInt64 => DbValue::RangeInt64(range(&text)?),
        DbDataType::RangeDecimal => DbValue::RangeDecimal(range(&text)?),
        DbDataType::ArrayInt32 => DbValue::ArrayInt32(array(&text)?),
        DbDataType::ArrayInt64 => DbValue::ArrayInt64(array(&text)?),
        DbDataType::ArrayDecimal => DbValue::ArrayDecimal(literal::array_items(&text)?),
        DbDataType::ArrayStr => DbValue::ArrayStr(literal::array_items(&text)?),
        DbDataType::Interval => {
            let (micros, days, months) = literal::interval_parts(&text)?;
            DbValue::Interval(Interval { micros, days, months })
        }
        // Enumerations and the like: the bytes that the server sends.
        DbDataType::Other(_)
        | DbDataType::Boolean
        | DbDataType::Int8
        | DbDataType::Int16
        | DbDataType::Int32
        | DbDataType::Int64
        | DbDataType::Floating32
        | DbDataType::Floating64
        | DbDataType::Binary
        | DbDataType::Timestamp => DbValue::Unsupported(text.into_bytes()),
    })
}

fn date(year: i32, month: u8, day: u8) -> Result<NaiveDate, String> {
    let date = NaiveDate::from_ymd_opt(year, month.into(), day.into());
    date.ok_or_else(|| format!("no date: year {year}, month {month}, day {day}"))
}

fn time(hour: u8, minute: u8, second: u8, nanos: u32) -> Result<NaiveTime, String> {
    let time = NaiveTime::from_hms_nano_opt(hour.into(), minute.into(), second.into(), nanos);
    time.ok_or_else(|| format!("no time of day: {hour}:{minute}:{second} and {nanos} ns"))
}

fn date_parts(date: NaiveDate) -> Option<(i32, u8, u8)> {
    Some((date.year(), date.month().try_into().ok()?, date.day().try_into().ok()?))
}

fn time_parts(time: NaiveTime) -> Option<(u8, u8, u8, u32)> {
    let part = |number: u32| u8::try_from(number).ok();
    Some((part(time.hour())?, part(time.minute())?, part(time.second())?, time.nanosecond()))
}

/// Writes a date, and the era that stands at the end of a text. PostgreSQL has no year 0: 1 BC comes before 1.
fn written_date(date: NaiveDate) -> (String, &'static str) {
    let (year, era) = match date.year() {
        year @ ..=0 => (1 - i64::from(year), " BC"),
        year => (i64::from(year), ""),
    };
    (format!("{year:04}-{:02}-{:02}", date.month(), date.day()), era)
}

/// Writes a time in UTC, whether the column has a time zone or not.
fn written_moment(moment: NaiveDateTime) -> String {
    let (date, era) = written_date(moment.date());
    format!("{date} {}+00{era}", moment.time().format("%H:%M:%S%.9f"))
}

fn written_array<T: ToString>(items: Vec<Option<T>>) -> String {
    literal::array(items.into_iter().map(|item| item.map(|item| item.to_string())))
}

fn written_range<T: ToString>(lower: PostgresRangeEnd<T>, upper: PostgresRangeEnd<T>) -> String {
    let bound = |end: PostgresRangeEnd<T>| match end {
        None => Bound::Unbounded,
        Some((item, RangeBoundKind::Inclusive)) => Bound::Included(item.to_string()),
        Some((item, RangeBoundKind::Exclusive)) => Bound::Excluded(item.to_string()),
    };
    let (lower, upper) = (bound(lower), bound(upper));
    literal::range(lower.as_ref().map(String::as_str), upper.as_ref().map(String::as_str))
}

fn array<T: std::str::FromStr>(text: &str) -> Option<Vec<Option<T>>> {
    let parse = |item: Option<String>| match item {
        None => Some(None),
        Some(item) => Some(Some(item.parse().ok()?)),
    };
    literal::array_items(text)?.into_iter().map(parse).collect()
}

fn range<T: std::str::FromStr>(text: &str) -> Option<(PostgresRangeEnd<T>, PostgresRangeEnd<T>)> {
    let end = |bound: Bound<String>| -> Option<PostgresRangeEnd<T>> {
        Some(match bound {
            Bound::Unbounded => None,
            Bound::Included(item) => Some((item.parse().ok()?, RangeBoundKind::Inclusive)),
            Bound::Excluded(item) => Some((item.parse().ok()?, RangeBoundKind::Exclusive)),
        })
    };
    let (lower, upper) = literal::range_bounds(text)?;
    Some((end(lower)?, end(upper)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: ParameterValue) -> String {
        match ours(value) {
            Ok(SqlValue::Text(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parameters_are_written_as_the_server_reads_them() {
        let inclusive = |number| Some((number, RangeBoundKind::Inclusive));
        for (value, wanted) in [
            (ParameterValue::Boolean(true), "true"),
            (ParameterValue::Floating32(0.1), "0.1"),
            (ParameterValue::Date((2024, 2, 29)), "2024-02-29"),
            (ParameterValue::Date((-43, 3, 15)), "0044-03-15 BC"),
            (ParameterValue::Time((1, 2, 3, 4)), "01:02:03.000000004"),
            (ParameterValue::Datetime((0, 1, 2, 3, 4, 5, 0)), "0001-01-02 03:04:05.000000000+00 BC"),
            (ParameterValue::Timestamp(-86_400), "1969-12-31 00:00:00.000000000+00"),
            (ParameterValue::RangeInt32((inclusive(1), None)), "[1,)"),
            (ParameterValue::ArrayStr(vec![Some("a b".to_owned()), None]), "{\"a b\",NULL}"),
            (ParameterValue::ArrayInt64(vec![Some(-1), None]), "{-1,NULL}"),
        ] {
            assert_eq!(written(value), wanted);
        }
        assert!(ours(ParameterValue::Date((2023, 2, 29))).is_err());
        assert!(ours(ParameterValue::Time((24, 0, 0, 0))).is_err());
        assert!(ours(ParameterValue::Jsonb(vec![255])).is_err());
    }

    #[test]
    fn an_array_has_the_memory_of_its_items() {
        let text = format!("{{{}a}}", "a,".repeat(999));
        let array = theirs(&data_type("_text"), SqlValue::Text(text.clone())).unwrap();

        assert!(size(&array) >= 1000 * (size_of::<Option<String>>() + 1), "{}", size(&array));
        assert_eq!(size(&DbValue::Str(text)) - size(&DbValue::DbNull), 2001);
    }

    #[test]
    fn results_have_the_types_of_their_columns() {
        let text = |text: &str| SqlValue::Text(text.to_owned());
        for (name, value, wanted) in [
            ("int2", SqlValue::Integer(-7), "DbValue::Int16(-7)"),
            ("bool", SqlValue::Integer(1), "DbValue::Boolean(true)"),
            ("float4", SqlValue::Real(0.1_f32.into()), "DbValue::Floating32(0.1)"),
            ("date", text("1999-12-31"), "DbValue::Date((1999, 12, 31))"),
            ("time", text("01:02:03.5"), "DbValue::Time((1, 2, 3, 500000000))"),
            (
                "timestamptz",
                text("2024-02-29T11:00:00.500000Z"),
                "DbValue::Datetime((2024, 2, 29, 11, 0, 0, 500000000))",
            ),
            ("_int4", text("{1,NULL}"), "DbValue::ArrayInt32([Some(1), None])"),
            ("mood", text("ok"), "DbValue::Unsupported([111, 107])"),
            ("oid", SqlValue::Integer(7), "DbValue::Unsupported([55])"),
            ("text", SqlValue::Null, "DbValue::DbNull"),
        ] {
            assert_eq!(format!("{:?}", theirs(&data_type(name), value).unwrap()), wanted);
        }
        let Some(DbValue::RangeInt64((Some((1, _)), None))) = theirs(&data_type("int8range"), text("[1,)"))
        else {
            panic!("a range from 1");
        };
        assert!(theirs(&data_type("date"), text("infinity")).is_none());
    }
}
