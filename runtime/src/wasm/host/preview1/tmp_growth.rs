//! Counts preview 1 calls that make a job's own `/tmp` larger, before they are carried out.
//!
//! Also tracks the calls that change a descriptor's number or its append flag.

use std::io;

use wasmtime::{Caller, Linker, Result};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p1::types::{Errno, Error, Fd, Fdflags};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as preview1, WasiSnapshotPreview1 as _};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wiggle::GuestMemory;

use super::memory::{MODULE, parts, settle};
use crate::wasm::host::core_state::State;

/// Links the functions.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap_async(
        MODULE,
        "path_create_directory",
        |mut caller: Caller<'_, State>, (fd, path, length): (i32, i32, i32)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                if let Some(tmp) = state.tmp.as_deref().filter(|tmp| tmp.holds(fd.cast_unsigned()))
                    && let Err(full) = tmp.take_entry().await
                {
                    return settle(Err(refused(full)));
                }
                // The path needs no bound here: one longer than the host's maximum is refused.
                state.wasi.get().set_hostcall_fuel(usize::MAX);
                let memory = &mut GuestMemory::Unshared(memory);
                preview1::path_create_directory(state.wasi.get(), memory, fd, path, length).await
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "fd_filestat_set_size",
        |mut caller: Caller<'_, State>, (fd, size): (i32, i64)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                if let Some(tmp) = state.tmp.as_deref()
                    && let Err(full) = tmp.take_size(fd.cast_unsigned(), size.cast_unsigned()).await
                {
                    return settle(Err(refused(full)));
                }
                let memory = &mut GuestMemory::Unshared(memory);
                preview1::fd_filestat_set_size(state.wasi.get(), memory, fd, size).await
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "fd_renumber",
        |mut caller: Caller<'_, State>, (from, to): (i32, i32)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                let memory = &mut GuestMemory::Unshared(memory);
                let outcome = state.wasi.get().fd_renumber(memory, from.into(), to.into()).await;
                if outcome.is_ok() && from != to {
                    // The descriptor that had the number `to` before is closed.
                    state.opened.close_in(state.wasi.get().ctx().table);
                    if let Some(tmp) = state.tmp.as_deref_mut() {
                        tmp.renumber(from.cast_unsigned(), to.cast_unsigned());
                    }
                }
                settle(outcome)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_fdstat_set_flags",
        |mut caller: Caller<'_, State>, fd: i32, flags: i32| -> Result<i32> {
            let (memory, state) = parts(&mut caller)?;
            let Ok(flags) = Fdflags::try_from(flags) else { return Ok(Errno::Inval as i32) };
            let outcome =
                state.wasi.get().fd_fdstat_set_flags(&mut GuestMemory::Unshared(memory), Fd::from(fd), flags);
            if let Some(tmp) = state.tmp.as_deref_mut().filter(|_| outcome.is_ok()) {
                tmp.append(fd.cast_unsigned(), flags.contains(Fdflags::APPEND));
            }
            settle(outcome)
        },
    )?;
    Ok(())
}

/// Converts an error of the quota to the error type of preview 1.
pub(super) fn refused(error: io::Error) -> Error {
    ErrorCode::from(error).into()
}
