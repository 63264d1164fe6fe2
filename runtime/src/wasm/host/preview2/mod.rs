//! Functions of WASI 0.2 that stand in the place of wasmtime-wasi's own.

mod growing;
mod listing;
mod polling;
mod writing;

use wasmtime::Result;
use wasmtime::component::Linker;

use crate::wasm::host::component_state::State;

/// Puts the functions into a linker that has wasmtime-wasi's.
pub(in crate::wasm) fn serve(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    listing::link(linker)?;
    writing::link(linker)?;
    polling::link(linker)?;
    growing::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
