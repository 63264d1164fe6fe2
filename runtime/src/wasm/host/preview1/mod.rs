//! Functions of WASI preview 1 that stand in the place of wasmtime-wasi's own.

mod ending;
mod growing;
mod listing;
mod memory;
mod transfer;
mod waiting;

use wasmtime::{Linker, Result};

pub(in crate::wasm) use self::memory::MODULE;
use crate::wasm::host::core_state::State;

/// Puts the functions into a linker that has wasmtime-wasi's.
pub(in crate::wasm) fn serve(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    transfer::link(linker)?;
    listing::link(linker)?;
    waiting::link(linker)?;
    ending::link(linker)?;
    growing::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}
