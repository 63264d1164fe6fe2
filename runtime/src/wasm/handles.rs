//! The bound on what a job holds open, told to a core module as Unix tells it.

use wasmtime::component::ResourceTable;
use wasmtime::{AsContextMut as _, Caller, Extern, Linker, Result, bail};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self, WasiSnapshotPreview1 as _};
use wiggle::GuestMemory;

/// Entries of a table that a call takes for its own duration, such as the stream that a read of a
/// file is made of. Without them, a call would find the table full, and wasmtime-wasi ends a guest
/// that fills it.
const PASSING: usize = 16;

/// `errno.mfile` of WASI preview 1: too many open files.
const MFILE: i32 = 33;

/// Bounds a job's handles; a component that goes beyond is ended, as WASI 0.2 has no error for it.
pub(super) fn bound(table: &mut ResourceTable, handles: usize) {
    table.set_max_capacity(handles + PASSING);
}

/// Puts a look at the table before `path_open`, which is the way for a core module to get handles
/// that last.
pub(super) fn guard<S: Send + 'static>(
    linker: &mut Linker<S>,
    wasi: &str,
    get: impl Fn(&mut S) -> &mut WasiP1Ctx + Copy + Send + Sync + 'static,
) -> Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(wasi, "path_open", move |mut caller: Caller<'_, S>, args: Open| {
        Box::new(async move {
            if !has_room(get(caller.data_mut()).ctx().table) {
                return Ok(MFILE);
            }
            let fuel = caller.as_context_mut().hostcall_fuel();
            let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
                bail!("missing required memory export")
            };
            let (memory, state) = memory.data_and_store_mut(&mut caller);
            let context = get(state);
            context.set_hostcall_fuel(fuel);
            let (dir, lookup, path, length, open, base, inheriting, flags, opened) = args;
            let mut memory = GuestMemory::Unshared(memory);
            wasi_snapshot_preview1::path_open(
                context,
                &mut memory,
                dir,
                lookup,
                path,
                length,
                open,
                base,
                inheriting,
                flags,
                opened,
            )
            .await
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The arguments of `path_open`, as the witx of WASI preview 1 has them.
type Open = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

/// Reports whether one more handle stays within the bound: the table does not tell how full it is,
/// but takes this one and all that pass, or does not.
fn has_room(table: &mut ResourceTable) -> bool {
    let taken: Vec<_> = (0..=PASSING).map_while(|_| table.push(()).ok()).collect();
    let room = taken.len() > PASSING;
    for entry in taken {
        // It was put there above, and nothing has seen it.
        let _there = table.delete(entry);
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_up_to_the_bound_and_not_one_further() {
        let mut table = ResourceTable::new();
        bound(&mut table, 20);
        let mut held: Vec<_> = (0..19).map(|number| table.push(number).unwrap()).collect();

        assert!(has_room(&mut table));
        held.push(table.push(19).unwrap());
        assert!(!has_room(&mut table));
        table.delete(held.remove(3)).unwrap();
        assert!(has_room(&mut table));
    }
}
