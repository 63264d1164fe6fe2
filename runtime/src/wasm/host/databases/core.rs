//! `portcullis_sql_v1`, the functions through which a core module uses databases.
//!
//! Every function returns -1 if it fails; `error` then returns the reason. The rows of a statement are kept for the
//! guest, which takes them with `result`. Texts are UTF-8, in the memory that the module exports as `memory`; numbers
//! that are written there are little-endian.

use bytes::Bytes;
use wasmtime::error::Context as _;
use wasmtime::{Caller, Linker, Memory, Result};

use super::grants::{GuestDatabases, SqlFailure};
use super::records;
use crate::database::{MAX_PARAMETER_BYTES, MAX_PARAMETERS, MAX_SQL, SqlCommand, SqlValue};
use crate::wasm::host::core_state::{self, State};
use crate::wasm::host::memory_meter::{KeptFor, charged};

/// The name of the module that the functions are imported from.
pub(crate) const MODULE: &str = "portcullis_sql_v1";

/// The longest name of a database that is looked up.
const MAX_NAME: usize = 64;

/// Bytes that encoded parameters have beside their content: a type and a length or number each.
const PER_PARAMETER: usize = 9;

/// Bytes of the largest encoded parameters.
const MAX_ENCODED: usize = MAX_PARAMETER_BYTES + PER_PARAMETER * MAX_PARAMETERS;

/// Adds the functions to a linker.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(MODULE, "open", |mut caller: Caller<'_, State>, at: u32, size: u32| -> Result<i32> {
        let name = read(&mut caller, (at, size), MAX_NAME)?.and_then(|bytes| text(&bytes));
        let databases = caller.data_mut().databases()?;
        let found = name.and_then(|name| databases.find(&name));
        Ok(databases.settle(found))
    })?;
    // All of these may wait; the guest yields meanwhile and uses no processor time.
    linker.func_wrap_async(
        MODULE,
        "run",
        |caller: Caller<'_, State>,
         (database, sql, size, parameters, parameters_size, changed): (u32, u32, u32, u32, u32, u32)| {
            Box::new(run(caller, database, ((sql, size), (parameters, parameters_size)), changed))
        },
    )?;
    for (name, command) in
        [("begin", SqlCommand::Begin), ("commit", SqlCommand::Commit), ("rollback", SqlCommand::Rollback)]
    {
        linker.func_wrap_async(MODULE, name, move |mut caller: Caller<'_, State>, (database,): (u32,)| {
            let command = command.clone();
            Box::new(async move {
                let databases = caller.data_mut().databases()?;
                let outcome = databases.run(database, command).await.map(|_| 0);
                // The result before is not kept any longer.
                caller.data_mut().meter.keep(KeptFor::Database, 0);
                Ok(caller.data_mut().databases()?.settle(outcome))
            })
        })?;
    }
    linker.func_wrap(
        MODULE,
        "result",
        |mut caller: Caller<'_, State>, at: u32, size: u32| -> Result<i32> {
            let result = caller.data_mut().databases()?.result.clone();
            let length = copy(&mut caller, &result, (at, size))?;
            // Taken whole, it need not be held until the next statement.
            if result.len() <= usize::try_from(size)? {
                caller.data_mut().databases()?.result = Bytes::new();
                caller.data_mut().meter.keep(KeptFor::Database, 0);
            }
            Ok(length)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "error",
        |mut caller: Caller<'_, State>, at: u32, size: u32| -> Result<i32> {
            let text = caller.data_mut().databases()?.last_error.clone();
            copy(&mut caller, text.as_bytes(), (at, size))
        },
    )?;
    Ok(())
}

/// Runs a statement, writes how many rows it changed, and returns the length of its result.
async fn run(
    mut caller: Caller<'_, State>,
    database: u32,
    (sql, parameters): ((u32, u32), (u32, u32)),
    changed: u32,
) -> Result<i32> {
    let sql = read(&mut caller, sql, MAX_SQL)?.and_then(|bytes| text(&bytes));
    let parameters = match reserve(caller.data_mut(), parameters.1)? {
        Ok(()) => read(&mut caller, parameters, MAX_ENCODED)?,
        Err(failure) => Err(failure),
    };
    let parameters = parameters.and_then(|bytes| {
        records::read(&bytes).ok_or_else(|| {
            SqlFailure::invalid(
                "the parameters are cut short, of an unknown type, or hold a text that is not UTF-8",
            )
        })
    });
    let command = sql.and_then(|sql| Ok((sql, parameters?)));
    let databases = caller.data_mut().databases()?;
    let outcome = match command {
        Ok(command) => statement(databases, database, command).await,
        Err(failure) => Err(failure),
    };
    let charged = charge(caller.data_mut())?;
    match outcome.and_then(|outcome| charged.map(|()| outcome)) {
        Ok((length, rows)) => {
            let memory = memory(&mut caller)?;
            memory.write(&mut caller, usize::try_from(changed)?, &rows.to_le_bytes())?;
            Ok(length)
        }
        Err(failure) => Ok(caller.data_mut().databases()?.settle(Err(failure))),
    }
}

/// Charges the job for the result that is kept for it. A result that it has no memory for is dropped.
fn charge(state: &mut State) -> Result<Result<(), SqlFailure>> {
    let bytes = state.databases()?.result.len();
    if state.meter.keep(KeptFor::Database, charged(bytes)) {
        return Ok(Ok(()));
    }
    state.databases()?.result = Bytes::new();
    Ok(Err(SqlFailure::no_memory(bytes)))
}

/// Charges the job for the parameters of a statement, before they are copied. They wait with it for a connection, and the
/// charge ends with the statement.
fn reserve(state: &mut State, bytes: u32) -> Result<Result<(), SqlFailure>> {
    // The result of the statement before is not kept any longer, nor charged.
    state.databases()?.result = Bytes::new();
    let bytes = usize::try_from(bytes)?.min(MAX_ENCODED);
    let is_charged = state.meter.keep(KeptFor::Database, charged(bytes));
    Ok(if is_charged { Ok(()) } else { Err(SqlFailure::no_memory(bytes)) })
}

/// Runs a statement and keeps its result. Returns the length of the result and the number of changed rows.
async fn statement(
    databases: &mut GuestDatabases,
    database: u32,
    (sql, parameters): (String, Vec<SqlValue>),
) -> Result<(i32, u64), SqlFailure> {
    let result = databases.run(database, SqlCommand::Statement { sql, parameters }).await?;
    databases.result = records::result(&result);
    let length = i32::try_from(databases.result.len());
    Ok((length.map_err(|_| SqlFailure::invalid("the result is too large"))?, result.changed))
}

fn text(bytes: &[u8]) -> Result<String, SqlFailure> {
    let text = std::str::from_utf8(bytes).map(str::to_owned);
    text.map_err(|_| SqlFailure::invalid("a statement is UTF-8; pass other bytes as parameters"))
}

/// Reads bytes from the guest's memory.
///
/// # Errors
/// They lie outside the memory. Too many bytes are a failure that the guest sees.
fn read(
    caller: &mut Caller<'_, State>,
    (at, size): (u32, u32),
    max: usize,
) -> Result<Result<Bytes, SqlFailure>> {
    let size = usize::try_from(size)?;
    if size > max {
        return Ok(Err(SqlFailure::invalid(&format!("{size} bytes are too many: {max} at most"))));
    }
    let memory = memory(caller)?;
    let at = usize::try_from(at)?;
    let piece = at.checked_add(size).and_then(|end| memory.data(&*caller).get(at..end));
    let piece =
        piece.with_context(|| format!("{MODULE}: {size} bytes at {at} are not in the module's memory"))?;
    Ok(Ok(Bytes::copy_from_slice(piece)))
}

/// Copies bytes into the guest's memory as far as they fit, and returns how many there are.
fn copy(caller: &mut Caller<'_, State>, bytes: &[u8], (at, size): (u32, u32)) -> Result<i32> {
    let fits = bytes.len().min(usize::try_from(size)?);
    memory(caller)?.write(&mut *caller, usize::try_from(at)?, &bytes[..fits])?;
    Ok(i32::try_from(bytes.len())?)
}

fn memory(caller: &mut Caller<'_, State>) -> Result<Memory> {
    core_state::memory_for(caller, MODULE)
}
