//! `fermyon:spin/sqlite@2.0.0`: databases as components built with Spin's SDKs for JavaScript, Python and Go use them.

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};

use self::fermyon::spin::sqlite::{self, Error, QueryResult, RowResult, Value};
use super::charged;
use super::grants::SqlFailure;
use crate::database::{MAX_PARAMETERS, SqlResult, SqlValue};
use crate::wasm::host::component_state::State;

wasmtime::component::bindgen!({
    inline: "
        package fermyon:spin@2.0.0;

        interface sqlite {
            resource connection {
                open: static func(database: string) -> result<connection, error>;
                execute: func(statement: string, parameters: list<value>) -> result<query-result, error>;
            }
            variant error { no-such-database, access-denied, invalid-connection, database-full, io(string) }
            record query-result { columns: list<string>, rows: list<row-result> }
            record row-result { values: list<value> }
            variant value { integer(s64), real(f64), text(string), blob(list<u8>), null }
        }

        world imports { import sqlite; }
    ",
    imports: { default: async | trappable },
    with: { "fermyon:spin/sqlite.connection": Spin2Connection },
});

/// A component's handle of a database. Its representation is the database's number in `GuestDatabases`.
#[expect(unreachable_pub, reason = "what the macro makes of it is public")]
pub struct Spin2Connection;

/// Adds the interface to a linker.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    sqlite::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

type Spin2Result<T> = Result<std::result::Result<T, Error>>;

impl From<SqlFailure> for Error {
    fn from(failure: SqlFailure) -> Error {
        match failure.code {
            "access_denied" => Error::AccessDenied,
            "quota_exceeded" => Error::DatabaseFull,
            _ => Error::Io(failure.to_string()),
        }
    }
}

impl sqlite::Host for State {}

impl sqlite::HostConnection for State {
    async fn open(&mut self, database: String) -> Spin2Result<Resource<Spin2Connection>> {
        let found = self.databases()?.find(&database);
        Ok(found.map(|number| Resource::new_own(number.unsigned_abs())).map_err(Error::from))
    }

    async fn execute(
        &mut self,
        connection: Resource<Spin2Connection>,
        sql: String,
        parameters: Vec<Value>,
    ) -> Spin2Result<QueryResult> {
        // One too many is refused with the statement; more need not be held until then.
        let parameters = parameters.into_iter().take(MAX_PARAMETERS + 1).map(ours).collect();
        let result = charged::run(self, connection.rep(), sql, parameters).await?;
        Ok(result.map(theirs).map_err(Error::from))
    }

    async fn drop(&mut self, _: Resource<Spin2Connection>) -> Result<()> {
        // The representation is a number: nothing is held for the handle.
        Ok(())
    }
}

fn ours(value: Value) -> SqlValue {
    match value {
        Value::Integer(number) => SqlValue::Integer(number),
        Value::Real(number) => SqlValue::Real(number),
        Value::Text(text) => SqlValue::Text(text),
        Value::Blob(bytes) => SqlValue::Blob(bytes),
        Value::Null => SqlValue::Null,
    }
}

fn theirs(result: SqlResult) -> QueryResult {
    let value = |value: SqlValue| match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(number) => Value::Integer(number),
        SqlValue::Real(number) => Value::Real(number),
        SqlValue::Text(text) => Value::Text(text),
        SqlValue::Blob(bytes) => Value::Blob(bytes),
    };
    let row = |row: Vec<SqlValue>| RowResult { values: row.into_iter().map(value).collect() };
    QueryResult { columns: result.columns, rows: result.rows.into_iter().map(row).collect() }
}
