//! Functions of SQL that replace some of SQLite's own: slow ones, and those that would tell a job about another job.
//!
//! The time of the slow ones grows with the product of the lengths of their arguments. SQLite looks at the clock between
//! some instructions of its machine, and never in a call: `ltrim` of 1 MB took minutes. The functions here look at the clock
//! when they begin. They return what SQLite's functions return, because indexes and views may use them.

use std::borrow::Cow;
use std::ffi::{c_int, c_uint};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, ffi, params_from_iter};

use super::control::StatementControl;
use super::patterns;
use crate::database::limits::MAX_VALUE;

/// Comparisons between two looks at the clock: some milliseconds.
const COMPARISONS: usize = 1 << 20;

/// The most work of `json_patch`, which looks for each name of the patch in the whole target: bytes of both times names.
/// Some tenths of a second.
const MERGE: usize = 1 << 28;

/// The mark of a text that is JSON.
const JSON: c_uint = 74;

/// The result of a function.
enum SqlAnswer {
    Null,
    Number(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl ToSql for SqlAnswer {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            SqlAnswer::Null => ValueRef::Null,
            SqlAnswer::Number(number) => ValueRef::Integer(*number),
            SqlAnswer::Text(text) => ValueRef::Text(text),
            SqlAnswer::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// The state that the functions of one connection share.
struct SqlFunctions {
    control: Arc<StatementControl>,
    /// A connection without these functions, for what is left to SQLite. Opened when it is first needed.
    plain: Mutex<Option<Connection>>,
}

/// The texts of two arguments.
type TextPair<'c> = (Cow<'c, [u8]>, Cow<'c, [u8]>);

/// One of the functions.
type SqlFunction = fn(&SqlFunctions, &Context<'_>) -> rusqlite::Result<SqlAnswer>;

/// Gives a connection the functions.
pub(super) fn install(connection: &Connection, control: &Arc<StatementControl>) -> rusqlite::Result<()> {
    let functions = Arc::new(SqlFunctions { control: control.clone(), plain: Mutex::default() });
    let session = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
    let pure = session | FunctionFlags::SQLITE_DETERMINISTIC;
    let list: [(&str, c_int, FunctionFlags, SqlFunction); 9] = [
        ("instr", 2, pure, SqlFunctions::instr),
        ("replace", 3, pure, SqlFunctions::replace),
        ("unhex", 2, pure, SqlFunctions::unhex),
        // With one argument, the time of SQLite's own functions grows with its length alone.
        ("trim", 2, pure, |own, context| own.trim(context, (true, true))),
        ("ltrim", 2, pure, |own, context| own.trim(context, (true, false))),
        ("rtrim", 2, pure, |own, context| own.trim(context, (false, true))),
        ("jsonb_patch", 2, pure, |own, context| own.patch(context, "SELECT jsonb_patch(?1, ?2)")),
        ("changes", 0, session, |own, context| own.changes(context, false)),
        ("total_changes", 0, session, |own, context| own.changes(context, true)),
    ];
    for (name, arguments, flags, function) in list {
        let own = functions.clone();
        connection.create_scalar_function(name, arguments, flags, move |context| function(&own, context))?;
    }
    let json = pure | FunctionFlags::SQLITE_RESULT_SUBTYPE;
    connection.create_scalar_function("json_patch", 2, json, move |context| {
        let patched = functions.patch(context, "SELECT json_patch(?1, ?2)")?;
        let mark = matches!(patched, SqlAnswer::Text(_)).then_some(JSON);
        Ok((patched, mark))
    })
}

impl SqlFunctions {
    /// Ends the statement if its time is over.
    fn look(&self) -> rusqlite::Result<()> {
        match self.control.has_to_stop() {
            true => Err(Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_INTERRUPT), None)),
            false => Ok(()),
        }
    }

    fn instr(&self, context: &Context<'_>) -> rusqlite::Result<SqlAnswer> {
        let is_blob = |place| matches!(context.get_raw(place), ValueRef::Blob(_));
        let Some((text, pattern)) = self.texts(context)? else { return Ok(SqlAnswer::Null) };
        let place = patterns::place(&text, &pattern, is_blob(0) && is_blob(1));
        Ok(SqlAnswer::Number(i64::try_from(place).unwrap_or(i64::MAX)))
    }

    fn replace(&self, context: &Context<'_>) -> rusqlite::Result<SqlAnswer> {
        let Some((text, pattern)) = self.texts(context)? else { return Ok(SqlAnswer::Null) };
        if matches!(pattern.first(), None | Some(0)) {
            return Ok(SqlAnswer::Text(text.into_owned()));
        }
        let Some(by) = self.text(context.get_raw(2))? else { return Ok(SqlAnswer::Null) };
        let replaced = patterns::replaced(&text, &pattern, &by, MAX_VALUE);
        let too_big = || Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_TOOBIG), None);
        replaced.map(SqlAnswer::Text).ok_or_else(too_big)
    }

    fn unhex(&self, context: &Context<'_>) -> rusqlite::Result<SqlAnswer> {
        let Some((text, passed)) = self.texts(context)? else { return Ok(SqlAnswer::Null) };
        Ok(patterns::from_hex(&text, &passed).map_or(SqlAnswer::Null, SqlAnswer::Blob))
    }

    fn trim(&self, context: &Context<'_>, ends: (bool, bool)) -> rusqlite::Result<SqlAnswer> {
        let Some((text, set)) = self.texts(context)? else { return Ok(SqlAnswer::Null) };
        let mut compared = 0;
        let mut spend = |more: usize| {
            compared += more;
            if compared < COMPARISONS {
                return Ok(());
            }
            compared = 0;
            self.look()
        };
        Ok(SqlAnswer::Text(patterns::trimmed(&text, &set, ends, &mut spend)?.to_vec()))
    }

    /// Calls SQLite's own function, if the documents are small enough for it.
    fn patch(&self, context: &Context<'_>, sql: &str) -> rusqlite::Result<SqlAnswer> {
        self.look()?;
        let (target, patch) = (context.get_raw(0), context.get_raw(1));
        let length = |value: ValueRef<'_>| match value {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 0,
        };
        let names = match patch {
            ValueRef::Text(bytes) => memchr::memchr_iter(b':', bytes).count(),
            // A name has one byte at least, and so does its value.
            patch => length(patch) / 2,
        };
        if names.saturating_mul(length(target) + length(patch)) > MERGE {
            return Err(Error::SqliteFailure(
                ffi::Error::new(ffi::SQLITE_ERROR),
                Some("json_patch takes too long for documents of this size: use json_set".to_owned()),
            ));
        }
        self.plain(sql, &[target, patch])
    }

    /// Returns the number of rows that the job has changed: by its last statement, or in all. Outside of a transaction it
    /// is 0, because the connection was another job's before.
    fn changes(&self, context: &Context<'_>, all: bool) -> rusqlite::Result<SqlAnswer> {
        // SAFETY: it is used in this call alone, on the thread that has the connection.
        let connection = unsafe { context.get_connection()? };
        let own = connection.total_changes().wrapping_sub(self.control.changes_before());
        let changes = match all {
            true => own,
            false if own == 0 => 0,
            false => connection.changes(),
        };
        Ok(SqlAnswer::Number(i64::try_from(changes).unwrap_or(i64::MAX)))
    }

    /// Begins a function of texts: returns its first two arguments, or `None` if one of them is NULL. Ends the statement
    /// if its time is over.
    fn texts<'c>(&self, context: &'c Context<'_>) -> rusqlite::Result<Option<TextPair<'c>>> {
        self.look()?;
        let (first, second) = (self.text(context.get_raw(0))?, self.text(context.get_raw(1))?);
        Ok(first.zip(second))
    }

    /// Returns the text of a value as SQLite has it. `None` for NULL.
    fn text<'v>(&self, value: ValueRef<'v>) -> rusqlite::Result<Option<Cow<'v, [u8]>>> {
        Ok(match value {
            ValueRef::Null => None,
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(Cow::Borrowed(bytes)),
            ValueRef::Integer(number) => Some(Cow::Owned(number.to_string().into_bytes())),
            ValueRef::Real(_) => match self.plain("SELECT CAST(?1 AS TEXT)", &[value])? {
                SqlAnswer::Text(text) => Some(Cow::Owned(text)),
                SqlAnswer::Null | SqlAnswer::Number(_) | SqlAnswer::Blob(_) => None,
            },
        })
    }

    /// Calls a function of SQLite's own.
    fn plain(&self, sql: &str, values: &[ValueRef<'_>]) -> rusqlite::Result<SqlAnswer> {
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match &mut *plain {
            Some(connection) => connection,
            none => none.insert(Connection::open_in_memory()?),
        };
        let mut statement = connection.prepare_cached(sql)?;
        let parameters = params_from_iter(values.iter().map(|value| ToSqlOutput::Borrowed(*value)));
        statement.query_row(parameters, |row| {
            Ok(match row.get_ref(0)? {
                ValueRef::Null | ValueRef::Real(_) => SqlAnswer::Null,
                ValueRef::Integer(number) => SqlAnswer::Number(number),
                ValueRef::Text(text) => SqlAnswer::Text(text.to_vec()),
                ValueRef::Blob(bytes) => SqlAnswer::Blob(bytes.to_vec()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rusqlite::types::Value;

    use super::*;
    use crate::database::sqlite::file::SqliteFile;
    use crate::database::sqlite::memory;

    fn connection() -> Connection {
        memory::count_by_thread();
        let file = SqliteFile::new(PathBuf::from("a.sqlite"), Arc::default());
        let connection = Connection::open_in_memory().unwrap();
        install(&connection, &Arc::new(StatementControl::new(Arc::new(file)))).unwrap();
        connection
    }

    /// Values with NULL, numbers, blobs, NULs, other alphabets, and texts that are no UTF-8.
    const VALUES: [&str; 22] = [
        "NULL",
        "''",
        "x''",
        "'a'",
        "'aa'",
        "'  aXaXa  '",
        "'é'",
        "'éaé✓é'",
        "'✓'",
        "' '",
        "x'00'",
        "x'6100'",
        "CAST(x'610061' AS TEXT)",
        "x'c3'",
        "CAST(x'c361c3a9' AS TEXT)",
        "CAST(x'80c38080' AS TEXT)",
        "CAST(x'80' AS TEXT)",
        "x'61c3a961'",
        "121",
        "1.50",
        "-1e100",
        "'41 42-61'",
    ];

    #[test]
    fn functions_return_what_those_of_sqlite_do() {
        let (own, plain) = (connection(), Connection::open_in_memory().unwrap());
        let answer = |connection: &Connection, sql: &str| {
            let read = "SELECT typeof(v), CAST(v AS BLOB) FROM";
            connection.query_row(&format!("{read} (SELECT {sql} AS v)"), [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Value>(1)?))
            })
        };

        for (one, other) in VALUES.into_iter().flat_map(|one| VALUES.map(|other| (one, other))) {
            let calls = ["instr", "trim", "ltrim", "rtrim", "unhex"];
            let calls = calls.map(|function| format!("{function}({one}, {other})"));
            let replaced = ["NULL", "''", "'é12'", "7"].map(|by| format!("replace({one}, {other}, {by})"));
            for sql in calls.iter().chain(&replaced) {
                assert_eq!(answer(&own, sql), answer(&plain, sql), "{sql}");
            }
        }
        for sql in [
            r#"json_patch('{"a":1,"b":{"c":2}}', '{"b":{"c":null,"d":3},"a":null}')"#,
            r#"json_array(json_patch('{"a":1.50}', '{"b":[]}'))"#,
            r#"jsonb_patch('{"a":1}', jsonb('{"b":2}'))"#,
            "json_patch(NULL, '{}')",
            "json_patch('[1]', '2')",
        ] {
            assert_eq!(answer(&own, sql), answer(&plain, sql), "{sql}");
        }
        assert!(answer(&own, "json_patch('{', '{}')").unwrap_err().to_string().contains("malformed JSON"));
    }

    #[test]
    fn an_index_and_a_view_of_a_schema_that_is_not_trusted_have_the_functions() {
        let connection = connection();
        connection.execute_batch("PRAGMA trusted_schema = OFF; CREATE TABLE t (a)").unwrap();
        connection
            .execute_batch(
                "CREATE INDEX i ON t (trim(a, ' x')); CREATE VIEW v AS SELECT replace(a, 'x', 'y') AS b FROM t; \
                 INSERT INTO t VALUES ('xax');",
            )
            .unwrap();

        let found = connection.query_row("SELECT b FROM v", [], |row| row.get::<_, String>(0));
        assert_eq!(found.unwrap(), "yay");
    }

    #[test]
    fn a_result_that_is_too_long_is_refused() {
        let connection = connection();
        let sql = "SELECT replace(hex(zeroblob(400000)), '0', 'ab')";

        let error = connection.query_row(sql, [], |_| Ok(())).unwrap_err();

        assert!(error.to_string().contains("too big"), "{error}");
    }
}
