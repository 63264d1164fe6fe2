//! Functions of WASI preview 1 that replace those of wasmtime-wasi.
//!
//! Floors, lowest first: `memory`; `ending`, `tmp_growth`, `listing`, `waiting`; `transfer`.

mod ending;
mod listing;
mod memory;
mod tmp_growth;
mod transfer;
mod waiting;

use wasmtime::{Linker, Result};

pub(in crate::wasm) use self::memory::MODULE;
use crate::wasm::host::core_state::State;

/// Replaces the functions in a linker that has wasmtime-wasi's.
pub(in crate::wasm) fn serve(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    transfer::link(linker)?;
    listing::link(linker)?;
    waiting::link(linker)?;
    ending::link(linker)?;
    tmp_growth::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
