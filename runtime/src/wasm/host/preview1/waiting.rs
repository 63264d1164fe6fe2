//! `poll_oneoff`, with as many subscriptions as a job may hold handles.

use wasmtime::{Caller, Linker, Result};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p1::types::Errno;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr};

use super::memory::{MODULE, address, parts, told};
use crate::wasm::host::core_state::State;
use crate::wasm::host::handles;

/// Links the function.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    type Parameters = (i32, i32, i32, i32);
    linker.func_wrap_async(
        MODULE,
        "poll_oneoff",
        |mut caller: Caller<'_, State>, (subscriptions, events, count, result): Parameters| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                let max = state.handles;
                if address(count) > max {
                    return Ok(Errno::Mfile as i32);
                }
                handles::lend(state.wasi.get().ctx().table, max, address(count));
                state.wasi.get().set_hostcall_fuel(usize::MAX);
                let [subscriptions, events, count] = [subscriptions, events, count].map(i32::cast_unsigned);
                let mut guest = GuestMemory::Unshared(&mut *memory);
                let (subscriptions, events) = (GuestPtr::new(subscriptions), GuestPtr::new(events));
                let outcome = state.wasi.get().poll_oneoff(&mut guest, subscriptions, events, count).await;
                handles::bound(state.wasi.get().ctx().table, max);
                told(memory, outcome, result)
            })
        },
    )?;
    Ok(())
}
