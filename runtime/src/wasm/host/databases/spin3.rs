//! `spin:sqlite@3`: databases as components built with the newest of Spin's SDKs use them.
//!
//! The functions that are awaited came with 3.1.0, and are for components that use the component model's `async`.

use wasmtime::component::{Accessor, FutureReader, HasSelf, Linker, Resource, ResourceType, StreamReader};
use wasmtime::{Result, StoreContextMut};

use self::spin::sqlite::sqlite::{
    self, Error, HostConnection, HostConnectionWithStore, QueryResult, RowResult, Value,
};
use super::charged;
use super::grants::SqlFailure;
use crate::database::{MAX_PARAMETERS, SqlResult, SqlValue};
use crate::wasm::host::component_state::State;
use crate::wasm::host::held_stream::HeldStream;

wasmtime::component::bindgen!({
    inline: "
        package spin:sqlite@3.1.0;

        interface sqlite {
            resource connection {
                open: static func(database: string) -> result<connection, error>;
                open-async: static async func(database: string) -> result<connection, error>;
                execute: func(statement: string, parameters: list<value>) -> result<query-result, error>;
                execute-async: async func(statement: string, parameters: list<value>)
                    -> result<tuple<list<string>, stream<row-result>, future<result<_, error>>>, error>;
                last-insert-rowid: func() -> s64;
                last-insert-rowid-async: async func() -> s64;
                changes: func() -> u64;
                changes-async: async func() -> u64;
            }
            variant error { no-such-database, access-denied, invalid-connection, database-full, io(string) }
            record query-result { columns: list<string>, rows: list<row-result> }
            record row-result { values: list<value> }
            variant value { integer(s64), real(f64), text(string), blob(list<u8>), null }
        }

        world imports { import sqlite; }
    ",
    imports: { default: async | trappable },
    with: { "spin:sqlite/sqlite.connection": SpinConnection },
});

/// A component's handle of a database. Its representation is the database's number in `GuestDatabases`.
#[expect(unreachable_pub, reason = "what the macro makes of it is public")]
pub struct SpinConnection;

/// Adds the functions that are called without `async` to a linker of any engine.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    type Store<'s> = StoreContextMut<'s, State>;
    type Handle = Resource<SpinConnection>;
    let mut instance = linker.instance("spin:sqlite/sqlite@3.0.0")?;
    instance.resource("connection", ResourceType::host::<SpinConnection>(), |_, _| Ok(()))?;
    instance.func_wrap_async("[static]connection.open", |mut store: Store<'_>, (database,): (String,)| {
        Box::new(async move { Ok((store.data_mut().open(database).await?,)) })
    })?;
    instance.func_wrap_async(
        "[method]connection.execute",
        |mut store: Store<'_>, (connection, sql, parameters): (Handle, String, Vec<Value>)| {
            Box::new(async move { Ok((store.data_mut().execute(connection, sql, parameters).await?,)) })
        },
    )?;
    instance.func_wrap_async(
        "[method]connection.last-insert-rowid",
        |mut store: Store<'_>, (connection,): (Handle,)| {
            Box::new(async move { Ok((store.data_mut().last_insert_rowid(connection).await?,)) })
        },
    )?;
    instance.func_wrap_async(
        "[method]connection.changes",
        |mut store: Store<'_>, (connection,): (Handle,)| {
            Box::new(async move { Ok((store.data_mut().changes(connection).await?,)) })
        },
    )
}

/// Adds all functions to a linker of an engine for `async` components.
pub(super) fn link_async(linker: &mut Linker<State>) -> Result<()> {
    sqlite::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

type SpinSqlResult<T> = Result<std::result::Result<T, Error>>;

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

impl HostConnection for State {
    async fn open(&mut self, database: String) -> SpinSqlResult<Resource<SpinConnection>> {
        open(self, &database)
    }

    async fn execute(
        &mut self,
        connection: Resource<SpinConnection>,
        sql: String,
        parameters: Vec<Value>,
    ) -> SpinSqlResult<QueryResult> {
        let result = charged::run(self, connection.rep(), sql, ours(parameters)).await?;
        let result =
            result.map(|SqlResult { columns, rows, .. }| QueryResult { columns, rows: theirs(rows) });
        Ok(result.map_err(Error::from))
    }

    async fn last_insert_rowid(&mut self, connection: Resource<SpinConnection>) -> Result<i64> {
        Ok(self.databases()?.last(connection.rep()).0)
    }

    async fn changes(&mut self, connection: Resource<SpinConnection>) -> Result<u64> {
        Ok(self.databases()?.last(connection.rep()).1)
    }

    async fn drop(&mut self, _: Resource<SpinConnection>) -> Result<()> {
        // The representation is a number: nothing is held for the handle.
        Ok(())
    }
}

/// The rows of a statement, and whether they came whole.
type SpinSqlRows = (Vec<String>, StreamReader<RowResult>, FutureReader<std::result::Result<(), Error>>);

impl<U: Send + 'static> HostConnectionWithStore<U> for HasSelf<State> {
    async fn open_async(
        accessor: &Accessor<U, Self>,
        database: String,
    ) -> SpinSqlResult<Resource<SpinConnection>> {
        accessor.with(|mut access| open(access.get(), &database))
    }

    async fn execute_async(
        accessor: &Accessor<U, Self>,
        connection: Resource<SpinConnection>,
        sql: String,
        parameters: Vec<Value>,
    ) -> SpinSqlResult<SpinSqlRows> {
        let number = connection.rep();
        let ran = charged::run_awaited(accessor, number, sql, ours(parameters)).await?;
        let (result, under_way) = match ran {
            Ok(ran) => ran,
            Err(failure) => return Ok(Err(failure.into())),
        };
        accessor.with(|mut access| {
            access.get().databases()?.note(number, &result);
            let memory = match charged::hold(access.get(), result.size()) {
                Ok(memory) => memory,
                Err(failure) => return Ok(Err(Error::from(failure))),
            };
            let rows = HeldStream::new(theirs(result.rows), under_way, memory);
            let rows = StreamReader::new(&mut access, rows)?;
            // All rows are here, so that nothing can go wrong with them.
            let ended = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((result.columns, rows, ended)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<U, Self>,
        connection: Resource<SpinConnection>,
    ) -> Result<i64> {
        accessor.with(|mut access| Ok(access.get().databases()?.last(connection.rep()).0))
    }

    async fn changes_async(
        accessor: &Accessor<U, Self>,
        connection: Resource<SpinConnection>,
    ) -> Result<u64> {
        accessor.with(|mut access| Ok(access.get().databases()?.last(connection.rep()).1))
    }
}

fn open(state: &mut State, database: &str) -> SpinSqlResult<Resource<SpinConnection>> {
    let found = state.databases()?.find(database);
    Ok(found.map(|number| Resource::new_own(number.unsigned_abs())).map_err(Error::from))
}

/// Converts parameters. One too many is refused with the statement; more need not be held until then.
fn ours(parameters: Vec<Value>) -> Vec<SqlValue> {
    let value = |value: Value| match value {
        Value::Integer(number) => SqlValue::Integer(number),
        Value::Real(number) => SqlValue::Real(number),
        Value::Text(text) => SqlValue::Text(text),
        Value::Blob(bytes) => SqlValue::Blob(bytes),
        Value::Null => SqlValue::Null,
    };
    parameters.into_iter().take(MAX_PARAMETERS + 1).map(value).collect()
}

fn theirs(rows: Vec<Vec<SqlValue>>) -> Vec<RowResult> {
    let value = |value: SqlValue| match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(number) => Value::Integer(number),
        SqlValue::Real(number) => Value::Real(number),
        SqlValue::Text(text) => Value::Text(text),
        SqlValue::Blob(bytes) => Value::Blob(bytes),
    };
    let row = |row: Vec<SqlValue>| RowResult { values: row.into_iter().map(value).collect() };
    rows.into_iter().map(row).collect()
}
