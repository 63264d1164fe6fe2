//! The memory of a core module, and outcomes as preview 1 tells them.

use wasmtime::{Caller, Extern, Result, bail, format_err};
use wasmtime_wasi::p1::types::{Errno, Error, Size};

use crate::wasm::host::core_state::State;

/// The module that WASI preview 1 is imported from.
pub(in crate::wasm) const MODULE: &str = "wasi_snapshot_preview1";

/// Returns the guest's memory, and what its instance owns.
pub(super) fn parts<'c>(caller: &'c mut Caller<'_, State>) -> Result<(&'c mut [u8], &'c mut State)> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory.data_and_store_mut(caller)),
        _ => bail!("exports no memory"),
    }
}

/// Returns so many bytes of the guest's memory.
///
/// # Errors
/// They lie outside of it, which ends the guest, as WASI wants it.
pub(super) fn bytes(memory: &mut [u8], at: usize, length: usize) -> Result<&mut [u8], Error> {
    let end = at.checked_add(length);
    let bytes = end.and_then(|end| memory.get_mut(at..end));
    bytes.ok_or_else(|| Error::trap(format_err!("{length} bytes at {at} are not in the module's memory")))
}

/// Reads a number from the guest's memory.
pub(super) fn number(memory: &mut [u8], at: usize) -> Result<usize, Error> {
    let mut number = [0; 4];
    number.copy_from_slice(bytes(memory, at, 4)?);
    Ok(address(i32::from_le_bytes(number)))
}

/// Turns an outcome into what a function returns: a number is told at a place in the memory.
pub(super) fn told(memory: &mut [u8], outcome: Result<Size, Error>, place: i32) -> Result<i32> {
    let told = |number: Size| {
        bytes(memory, address(place), 4)?.copy_from_slice(&number.to_le_bytes());
        Ok(())
    };
    settle(outcome.and_then(told))
}

/// Returns an address or a size of the guest's, which counts from 0 to 4 GiB.
pub(super) fn address(number: i32) -> usize {
    number.cast_unsigned() as usize
}

/// Turns an outcome into what a function returns, where it is no end of the guest.
pub(super) fn settle(outcome: Result<(), Error>) -> Result<i32> {
    match outcome {
        Ok(()) => Ok(Errno::Success as i32),
        Err(error) => error.downcast().map(|errno| errno as i32),
    }
}
