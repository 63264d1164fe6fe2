//! `environ_get` and `environ_sizes_get`, which read a job's environment without copying it first.
//!
//! The functions of wasmtime-wasi keep two strings for each variable, which makes forty allocations a request.

use wasmtime::error::Context as _;
use wasmtime::{Caller, Linker, Memory, Result};

use crate::job::Env;

/// `errno.success` of WASI preview 1.
const SUCCESS: i32 = 0;

/// `errno.fault` of WASI preview 1: bad address.
const FAULT: i32 = 21;

/// The error of a module that has nowhere to write them.
const NO_MEMORY: &str = "exports no memory";

/// Replaces the two functions of wasmtime-wasi. `memory` returns the guest's memory.
pub(in crate::wasm) fn serve<T: 'static>(
    linker: &mut Linker<T>,
    module: &str,
    memory: impl Fn(&mut Caller<'_, T>) -> Option<Memory> + Copy + Send + Sync + 'static,
    env: impl Fn(&T) -> &Env + Copy + Send + Sync + 'static,
) -> Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap(
        module,
        "environ_sizes_get",
        move |mut caller: Caller<'_, T>, count: i32, size: i32| {
            let memory = memory(&mut caller).context(NO_MEMORY)?;
            let (memory, state) = memory.data_and_store_mut(&mut caller);
            let entries = env(state).entries();
            let lengths = [entries.len(), entries.map(<[u8]>::len).sum()];
            let written = put(memory, at(count), number(lengths[0]))
                .and_then(|()| put(memory, at(size), number(lengths[1])));
            Ok(written.map_or(FAULT, |()| SUCCESS))
        },
    )?;
    linker.func_wrap(
        module,
        "environ_get",
        move |mut caller: Caller<'_, T>, pointers: i32, texts: i32| {
            let memory = memory(&mut caller).context(NO_MEMORY)?;
            let (memory, state) = memory.data_and_store_mut(&mut caller);
            Ok(write(memory, env(state), at(pointers), at(texts)).map_or(FAULT, |()| SUCCESS))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Writes the variables and their addresses. Returns `None` if one does not fit.
fn write(memory: &mut [u8], env: &Env, pointers: usize, texts: usize) -> Option<()> {
    let (mut pointer, mut text) = (pointers, texts);
    for entry in env.entries() {
        put(memory, pointer, number(text))?;
        put(memory, text, entry)?;
        // No overflow: both are addresses within a memory of 4 GiB.
        (pointer, text) = (pointer + 4, text + entry.len());
    }
    Some(())
}

fn put(memory: &mut [u8], place: usize, bytes: impl AsRef<[u8]>) -> Option<()> {
    let bytes = bytes.as_ref();
    memory.get_mut(place..place.checked_add(bytes.len())?)?.copy_from_slice(bytes);
    Some(())
}

/// Converts a guest's address, which is unsigned.
fn at(address: i32) -> usize {
    address.cast_unsigned() as usize
}

/// Encodes a number for the guest. An environment never has 4 GiB: a request head has 1 MiB at most.
fn number(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_fit_to_the_last_byte_and_not_one_less() {
        let mut env = Env::new();
        env.set("A", "1").unwrap();
        env.set("B", "").unwrap();
        let mut memory = [0xff; 15];

        assert_eq!(write(&mut memory, &env, 0, 8), Some(()));

        assert_eq!(&memory, b"\x08\0\0\0\x0c\0\0\0A=1\0B=\0");
        assert_eq!(write(&mut memory[..14], &env, 0, 8), None);
        assert_eq!(write(&mut memory, &env, usize::MAX - 1, 8), None);
    }
}
