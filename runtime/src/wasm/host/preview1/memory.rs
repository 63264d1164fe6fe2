//! Access to a core module's memory, and conversion of outcomes to preview 1's return values.

use wasmtime::error::Context as _;
use wasmtime::{Caller, Result, format_err};
use wasmtime_wasi::p1::types::{Errno, Error, Size};

use crate::wasm::engine::outline::PREVIEW_1;
use crate::wasm::host::core_state::{State, memory};

/// The module that WASI preview 1 is imported from.
pub(in crate::wasm) const MODULE: &str = PREVIEW_1;

/// Returns the guest's memory and its store data.
pub(super) fn parts<'c>(caller: &'c mut Caller<'_, State>) -> Result<(&'c mut [u8], &'c mut State)> {
    let memory = memory(caller).context("exports no memory")?;
    Ok(memory.data_and_store_mut(caller))
}

/// Returns a range of the guest's memory.
///
/// # Errors
/// The range lies outside the memory. The error ends the guest, as WASI requires.
pub(super) fn bytes(memory: &mut [u8], at: usize, length: usize) -> Result<&mut [u8], Error> {
    let end = at.checked_add(length);
    let bytes = end.and_then(|end| memory.get_mut(at..end));
    bytes.ok_or_else(|| Error::trap(format_err!("{length} bytes at {at} are not in the module's memory")))
}

/// Reads a 32-bit number from the guest's memory.
pub(super) fn number(memory: &mut [u8], at: usize) -> Result<usize, Error> {
    let mut number = [0; 4];
    number.copy_from_slice(bytes(memory, at, 4)?);
    Ok(address(i32::from_le_bytes(number)))
}

/// Converts an outcome to a return value, and writes its number to the address `place`.
pub(super) fn told(memory: &mut [u8], outcome: Result<Size, Error>, place: i32) -> Result<i32> {
    let told = |number: Size| {
        bytes(memory, address(place), 4)?.copy_from_slice(&number.to_le_bytes());
        Ok(())
    };
    settle(outcome.and_then(told))
}

/// Converts a guest's address or size, which is unsigned.
pub(super) fn address(number: i32) -> usize {
    number.cast_unsigned() as usize
}

/// Converts an outcome to a return value, or to an error if it must end the guest.
pub(super) fn settle(outcome: Result<(), Error>) -> Result<i32> {
    match outcome {
        Ok(()) => Ok(Errno::Success as i32),
        Err(error) => error.downcast().map(|errno| errno as i32),
    }
}
