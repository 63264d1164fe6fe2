//! The functions of `spin:postgres@4`, over the databases that a guest is granted.

use std::sync::Arc;

use wasmtime::component::{Accessor, FutureReader, HasSelf, Linker, Resource, ResourceType, StreamReader};
use wasmtime::{Result, StoreContextMut};

use super::bindings::postgres::{
    self, Column, DbValue, Error, HostConnection, HostConnectionBuilder, HostConnectionBuilderWithStore,
    HostConnectionWithStore, ParameterValue, QueryError, RowSet,
};
use super::bindings::{SpinPostgres, SpinPostgresBuilder};
use super::values;
use crate::database::{MAX_PARAMETERS, SqlResult, SqlValue};
use crate::wasm::host::component_state::State;
use crate::wasm::host::databases::charged;
use crate::wasm::host::databases::grants::SqlFailure;
use crate::wasm::host::held_stream::HeldStream;

type PostgresResult<T> = Result<std::result::Result<T, Error>>;

type PostgresHandle = Resource<SpinPostgres>;

type PostgresBuilder = Resource<SpinPostgresBuilder>;

/// Adds the functions that are called without `async` to a linker of any engine.
pub(in crate::wasm::host::databases) fn link(linker: &mut Linker<State>) -> Result<()> {
    type Store<'s> = StoreContextMut<'s, State>;
    type Statement = (PostgresHandle, String, Vec<ParameterValue>);
    let mut instance = linker.instance("spin:postgres/postgres@4.0.0")?;
    instance.resource("connection", ResourceType::host::<SpinPostgres>(), |_, _| Ok(()))?;
    instance.resource("connection-builder", ResourceType::host::<SpinPostgresBuilder>(), |_, _| Ok(()))?;
    instance.func_wrap_async("[static]connection.open", |mut store: Store<'_>, (address,): (String,)| {
        Box::new(async move { Ok((store.data_mut().open(address).await?,)) })
    })?;
    instance.func_wrap_async(
        "[method]connection.query",
        |mut store: Store<'_>, (connection, sql, parameters): Statement| {
            Box::new(async move { Ok((store.data_mut().query(connection, sql, parameters).await?,)) })
        },
    )?;
    instance.func_wrap_async(
        "[method]connection.execute",
        |mut store: Store<'_>, (connection, sql, parameters): Statement| {
            Box::new(async move { Ok((store.data_mut().execute(connection, sql, parameters).await?,)) })
        },
    )?;
    instance
        .func_wrap("[constructor]connection-builder", |mut store: Store<'_>, (address,): (String,)| {
            Ok((builder(store.data_mut(), &address)?,))
        })?;
    instance.func_wrap(
        "[method]connection-builder.set-ca-root",
        |_: Store<'_>, _: (PostgresBuilder, String)| Ok((refuse_authority()?,)),
    )?;
    instance.func_wrap("[method]connection-builder.build", |_: Store<'_>, (builder,): (PostgresBuilder,)| {
        Ok((built(&builder)?,))
    })
}

/// Adds all functions to a linker of an engine for `async` components.
pub(in crate::wasm::host::databases) fn link_async(linker: &mut Linker<State>) -> Result<()> {
    postgres::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

impl From<SqlFailure> for Error {
    fn from(failure: SqlFailure) -> Error {
        let text = failure.to_string();
        match failure.code {
            "access_denied" | "unavailable" | "corrupt" => Error::ConnectionFailed(text),
            "too_many" => Error::Other(text),
            _ => Error::QueryFailed(QueryError::Text(text)),
        }
    }
}

impl postgres::Host for State {}

impl HostConnection for State {
    async fn open(&mut self, address: String) -> PostgresResult<PostgresHandle> {
        open(self, &address)
    }

    async fn query(
        &mut self,
        connection: PostgresHandle,
        sql: String,
        parameters: Vec<ParameterValue>,
    ) -> PostgresResult<RowSet> {
        Ok(match run(self, &connection, sql, parameters).await? {
            Ok(result) => match rows(result) {
                Ok((columns, rows)) => Ok(RowSet { columns, rows }),
                Err(wrong) => Err(Error::ValueConversionFailed(wrong)),
            },
            Err(error) => Err(error),
        })
    }

    async fn execute(
        &mut self,
        connection: PostgresHandle,
        sql: String,
        parameters: Vec<ParameterValue>,
    ) -> PostgresResult<u64> {
        Ok(run(self, &connection, sql, parameters).await?.map(|result| result.changed))
    }

    async fn drop(&mut self, _: PostgresHandle) -> Result<()> {
        // The representation is a number: nothing is held for the handle.
        Ok(())
    }
}

impl HostConnectionBuilder for State {
    async fn new(&mut self, address: String) -> Result<PostgresBuilder> {
        builder(self, &address)
    }

    async fn set_ca_root(&mut self, _: PostgresBuilder, _: String) -> PostgresResult<()> {
        refuse_authority()
    }

    async fn build(&mut self, builder: PostgresBuilder) -> PostgresResult<PostgresHandle> {
        built(&builder)
    }

    async fn drop(&mut self, _: PostgresBuilder) -> Result<()> {
        Ok(())
    }
}

/// The rows of a query, and whether they came whole.
type PostgresRows = (Vec<Column>, StreamReader<Vec<DbValue>>, FutureReader<std::result::Result<(), Error>>);

impl<U: Send + 'static> HostConnectionWithStore<U> for HasSelf<State> {
    async fn open_async(accessor: &Accessor<U, Self>, address: String) -> PostgresResult<PostgresHandle> {
        accessor.with(|mut access| open(access.get(), &address))
    }

    async fn query_async(
        accessor: &Accessor<U, Self>,
        connection: PostgresHandle,
        sql: String,
        parameters: Vec<ParameterValue>,
    ) -> PostgresResult<PostgresRows> {
        let (result, under_way) = match run_awaited(accessor, &connection, sql, parameters).await? {
            Ok(result) => result,
            Err(error) => return Ok(Err(error)),
        };
        let (columns, rows) = match rows(result) {
            Ok(rows) => rows,
            Err(wrong) => return Ok(Err(Error::ValueConversionFailed(wrong))),
        };
        accessor.with(|mut access| {
            let bytes: usize = rows.iter().flatten().map(values::size).sum();
            let memory = match charged::hold(access.get(), bytes) {
                Ok(memory) => memory,
                Err(failure) => return Ok(Err(Error::from(failure))),
            };
            let rows = StreamReader::new(&mut access, HeldStream::new(rows, under_way, memory))?;
            // All rows are here, so that nothing can go wrong with them.
            let ended = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((columns, rows, ended)))
        })
    }

    async fn execute_async(
        accessor: &Accessor<U, Self>,
        connection: PostgresHandle,
        sql: String,
        parameters: Vec<ParameterValue>,
    ) -> PostgresResult<u64> {
        let ran = run_awaited(accessor, &connection, sql, parameters).await?;
        Ok(ran.map(|(result, _)| result.changed))
    }
}

impl<U: Send + 'static> HostConnectionBuilderWithStore<U> for HasSelf<State> {
    async fn build_async(_: &Accessor<U, Self>, builder: PostgresBuilder) -> PostgresResult<PostgresHandle> {
        built(&builder)
    }
}

fn open(state: &mut State, address: &str) -> PostgresResult<PostgresHandle> {
    let found = state.databases()?.find_server(address);
    Ok(found.map(Resource::new_own).map_err(|failure| Error::ConnectionFailed(failure.to_string())))
}

fn builder(state: &mut State, address: &str) -> Result<PostgresBuilder> {
    let found = state.databases()?.find_server(address);
    Ok(Resource::new_own(found.map_or(0, |number| number.saturating_add(1))))
}

/// Opens what a builder stands for.
fn built(builder: &PostgresBuilder) -> PostgresResult<PostgresHandle> {
    let number = builder.rep().checked_sub(1);
    let denied = "access_denied: the address is not the name of a granted database on a PostgreSQL server";
    Ok(number.map(Resource::new_own).ok_or_else(|| Error::ConnectionFailed(denied.to_owned())))
}

/// Which authority certifies a server is for the operator to say.
fn refuse_authority() -> PostgresResult<()> {
    let why = "write the authority into the daemon's configuration: database.NAME.ca";
    Ok(Err(Error::Other(why.to_owned())))
}

async fn run(
    state: &mut State,
    connection: &PostgresHandle,
    sql: String,
    parameters: Vec<ParameterValue>,
) -> PostgresResult<SqlResult> {
    match ours(parameters) {
        Ok(parameters) => {
            Ok(charged::run(state, connection.rep(), sql, parameters).await?.map_err(Error::from))
        }
        Err(wrong) => Ok(Err(Error::BadParameter(wrong))),
    }
}

/// Runs a statement while the guest goes on. The second value counts it as awaited for as long as it is held.
async fn run_awaited<U: Send + 'static>(
    accessor: &Accessor<U, HasSelf<State>>,
    connection: &PostgresHandle,
    sql: String,
    parameters: Vec<ParameterValue>,
) -> PostgresResult<(SqlResult, Arc<()>)> {
    match ours(parameters) {
        Ok(parameters) => {
            let ran = charged::run_awaited(accessor, connection.rep(), sql, parameters).await?;
            Ok(ran.map_err(Error::from))
        }
        Err(wrong) => Ok(Err(Error::BadParameter(wrong))),
    }
}

/// Converts parameters. One too many is refused with the statement; more need not be held until then.
///
/// # Errors
/// What is wrong with one of them.
fn ours(parameters: Vec<ParameterValue>) -> std::result::Result<Vec<SqlValue>, String> {
    parameters.into_iter().take(MAX_PARAMETERS + 1).map(values::ours).collect()
}

/// Converts a result.
///
/// # Errors
/// The column whose value has no place in its type.
fn rows(result: SqlResult) -> std::result::Result<(Vec<Column>, Vec<Vec<DbValue>>), String> {
    let SqlResult { columns, types, rows, .. } = result;
    let column = |(name, kind): (String, String)| Column { name, data_type: values::data_type(&kind) };
    let columns: Vec<Column> = columns.into_iter().zip(types).map(column).collect();
    let row = |row: Vec<SqlValue>| -> std::result::Result<Vec<DbValue>, String> {
        let value = |(column, value): (&Column, SqlValue)| {
            let converted = values::theirs(&column.data_type, value);
            converted.ok_or_else(|| format!("column {:?}: select it as text", column.name))
        };
        columns.iter().zip(row).map(value).collect()
    };
    let rows = rows.into_iter().map(row).collect::<std::result::Result<_, _>>()?;
    Ok((columns, rows))
}
