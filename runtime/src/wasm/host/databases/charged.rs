//! Runs a statement of a component, and charges the job for what it holds meanwhile.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf};

use super::grants::SqlFailure;
use crate::database::{SqlCommand, SqlResult, SqlValue};
use crate::wasm::host::component_state::State;
use crate::wasm::host::memory_meter::{HeldMemory, KeptFor, charged};

/// Runs a statement. Its parameters wait with it for a connection, and count as memory of the job until it has ended.
pub(super) async fn run(
    state: &mut State,
    database: u32,
    sql: String,
    parameters: Vec<SqlValue>,
) -> Result<std::result::Result<SqlResult, SqlFailure>> {
    let bytes = length(&parameters);
    if !state.meter.keep(KeptFor::Database, charged(bytes)) {
        return Ok(Err(SqlFailure::no_memory(bytes)));
    }
    let outcome = state.databases()?.run(database, SqlCommand::Statement { sql, parameters }).await;
    state.meter.keep(KeptFor::Database, 0);
    Ok(outcome)
}

/// Runs a statement while the guest goes on, and charges for its parameters in the same way. The second value counts
/// the statement as awaited until it is dropped.
pub(super) async fn run_awaited<U: Send + 'static>(
    accessor: &Accessor<U, HasSelf<State>>,
    database: u32,
    sql: String,
    parameters: Vec<SqlValue>,
) -> Result<std::result::Result<(SqlResult, Arc<()>), SqlFailure>> {
    let bytes = length(&parameters);
    let begun = accessor.with(|mut access| {
        let state = access.get();
        let memory = hold(state, bytes);
        let begun = state.databases()?;
        wasmtime::error::Ok(memory.and_then(|memory| Ok((begun.begin_awaited(database)?, memory))))
    })?;
    let ((statement, under_way), _memory) = match begun {
        Ok(begun) => begun,
        Err(failure) => return Ok(Err(failure)),
    };
    Ok(statement.run(sql, parameters).await.map(|result| (result, under_way)))
}

/// Charges the job for bytes of an awaited statement, for as long as the value is held.
///
/// # Errors
/// The job has no memory for them.
pub(super) fn hold(state: &mut State, bytes: usize) -> std::result::Result<HeldMemory, SqlFailure> {
    state.meter.hold(charged(bytes)).ok_or_else(|| SqlFailure::no_memory(bytes))
}

fn length(parameters: &[SqlValue]) -> usize {
    parameters.iter().map(SqlValue::length).sum()
}
