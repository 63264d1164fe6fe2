//! `proc_exit`, which accepts every exit status.

use wasmtime::{Caller, Error, Linker, Result};
use wasmtime_wasi::I32Exit;

use super::memory::MODULE;
use crate::wasm::host::core_state::State;

/// Links the function. wasmtime-wasi treats a status of 126 or more as an error of the module.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    let exit = |_: Caller<'_, State>, status: i32| -> Result<()> { Err(Error::from(I32Exit(status))) };
    linker.func_wrap(MODULE, "proc_exit", exit)?;
    Ok(())
}
