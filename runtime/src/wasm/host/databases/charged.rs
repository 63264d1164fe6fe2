//! Runs a statement of a component, and charges the job for what it holds meanwhile.

use wasmtime::Result;

use super::grants::SqlFailure;
use crate::database::{SqlCommand, SqlResult, SqlValue};
use crate::wasm::host::component_state::State;
use crate::wasm::host::memory_meter::{KeptFor, charged};

/// Runs a statement. Its parameters wait with it for a connection, and count as memory of the job until it has ended.
pub(super) async fn run(
    state: &mut State,
    database: u32,
    sql: String,
    parameters: Vec<SqlValue>,
) -> Result<std::result::Result<SqlResult, SqlFailure>> {
    let bytes: usize = parameters.iter().map(SqlValue::length).sum();
    if !state.meter.keep(KeptFor::Database, charged(bytes)) {
        return Ok(Err(SqlFailure::no_memory(bytes)));
    }
    let outcome = state.databases()?.run(database, SqlCommand::Statement { sql, parameters }).await;
    state.meter.keep(KeptFor::Database, 0);
    Ok(outcome)
}
