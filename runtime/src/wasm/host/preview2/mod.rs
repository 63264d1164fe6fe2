//! Functions of WASI 0.2 that replace those of wasmtime-wasi.
//!
//! Floors, lowest first: `listing`, `polling`, `tmp_growth`, `writing`, which do not use one another.

mod listing;
mod polling;
mod tmp_growth;
mod writing;

use wasmtime::Result;
use wasmtime::component::Linker;

use crate::wasm::host::component_state::State;

/// Replaces the functions in a linker that has wasmtime-wasi's.
pub(in crate::wasm) fn serve(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    listing::link(linker)?;
    writing::link(linker)?;
    polling::link(linker)?;
    tmp_growth::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
