//! What stands before the opening of a file: room for one more handle, and that it is a file; and behind
//! its closing, that another may be opened.
//!
//! To open a FIFO is to wait for whoever opens its other end, and a device does what it likes. So a
//! guest that names one, or a socket, is refused as it would be on a file system without devices.
//! Whoever exchanges a file for a FIFO between the look and the opening makes the job wait, in a
//! thread of its own handler ([`super::files`]).

use wasmtime::component::{self, Resource, ResourceType};
use wasmtime::{AsContextMut as _, Caller, Extern, Linker, Result, StoreContextMut, bail};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{Fd, Filetype, Lookupflags};
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as preview1, WasiSnapshotPreview1 as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor as _, OpenFlags, PathFlags,
};
use wiggle::{GuestMemory, GuestPtr};

use super::handles::{self, Opened};
use super::interfaces;

/// The parameters of `path_open`: descriptor, lookup flags, path and its length, open flags, rights
/// twice, descriptor flags, place for the result.
type PathOpen = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

/// `errno.success` of WASI preview 1.
const SUCCESS: i32 = 0;

/// `errno.acces` of WASI preview 1: permission denied.
const ACCES: i32 = 2;

/// `errno.mfile` of WASI preview 1: too many open files.
const MFILE: i32 = 33;

/// Puts a look before `path_open`, which is the way for a core module to get handles that last.
pub(super) fn guard_core<T: Send + 'static>(
    linker: &mut Linker<T>,
    module: &str,
    parts: impl Fn(&mut T) -> (&mut WasiP1Ctx, &mut Opened) + Copy + Send + Sync + 'static,
) -> Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(module, "path_open", move |mut caller: Caller<'_, T>, parameters: PathOpen| {
        Box::new(async move {
            let (fd, lookup, path, length, open, rights, inherited, flags, result) = parameters;
            let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
                bail!("exports no memory");
            };
            let (wasi, opened) = parts(caller.data_mut());
            let table = wasi.ctx().table;
            if !handles::has_room(table) || !opened.has_room_in(table) {
                return Ok(MFILE);
            }
            let fuel = caller.as_context_mut().hostcall_fuel();
            let (memory, state) = memory.data_and_store_mut(&mut caller);
            let (mut memory, (wasi, opened)) = (GuestMemory::Unshared(memory), parts(state));
            wasi.set_hostcall_fuel(fuel);
            if is_special(wasi, &mut memory, fd, lookup, (path, length)).await {
                return Ok(ACCES);
            }
            wasi.set_hostcall_fuel(fuel);
            let memory = &mut memory;
            let outcome = preview1::path_open(
                wasi, memory, fd, lookup, path, length, open, rights, inherited, flags, result,
            )
            .await?;
            if outcome == SUCCESS {
                opened.note(wasi.ctx().table);
            }
            Ok(outcome)
        })
    })?;
    linker.func_wrap_async(module, "fd_close", move |mut caller: Caller<'_, T>, (fd,): (i32,)| {
        Box::new(async move {
            let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
                bail!("exports no memory");
            };
            let (memory, state) = memory.data_and_store_mut(&mut caller);
            let (wasi, opened) = parts(state);
            let outcome = preview1::fd_close(wasi, &mut GuestMemory::Unshared(memory), fd).await?;
            opened.close_in(wasi.ctx().table);
            Ok(outcome)
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Reports whether a path leads to something that is neither a file, a directory nor a link. One
/// that leads nowhere is not our concern: whoever opens it says why.
async fn is_special(
    wasi: &mut WasiP1Ctx,
    memory: &mut GuestMemory<'_>,
    fd: i32,
    lookup: i32,
    (path, length): (i32, i32),
) -> bool {
    let Ok(lookup) = Lookupflags::try_from(lookup) else { return false };
    let path = GuestPtr::<str>::new((path.cast_unsigned(), length.cast_unsigned()));
    let found = wasi.path_filestat_get(memory, Fd::from(fd), lookup, path).await;
    found.is_ok_and(|found| {
        !matches!(found.filetype, Filetype::RegularFile | Filetype::Directory | Filetype::SymbolicLink)
    })
}

/// Puts a look before `open-at`, which is the way for a component to get handles of files.
pub(super) fn guard_components<T: WasiView + 'static>(
    linker: &mut component::Linker<T>,
    opened: impl Fn(&mut T) -> &mut Opened + Copy + Send + Sync + 'static,
) -> Result<()> {
    linker.allow_shadowing(true);
    linker.instance(interfaces::FILES)?.func_wrap_async(
        "[method]descriptor.open-at",
        move |mut store: StoreContextMut<'_, T>,
              (dir, follow, path, open, flags): (
            Resource<Descriptor>,
            PathFlags,
            String,
            OpenFlags,
            DescriptorFlags,
        )| {
            Box::new(async move {
                let state = store.data_mut();
                if !handles::has_room(state.ctx().table) || !opened(state).has_room_for_component() {
                    // Of the codes there are, the nearest to `EMFILE`.
                    return Ok((Err(ErrorCode::InsufficientMemory),));
                }
                let mut files = store.data_mut().filesystem();
                let borrowed = Resource::new_borrow(dir.rep());
                if let Ok(found) = files.stat_at(borrowed, follow, path.clone()).await
                    && !matches!(
                        found.type_,
                        DescriptorType::RegularFile
                            | DescriptorType::Directory
                            | DescriptorType::SymbolicLink
                    )
                {
                    return Ok((Err(ErrorCode::Access),));
                }
                match files.open_at(dir, follow, path, open, flags).await {
                    Ok(descriptor) => {
                        let file = handles::file_of(files.table, &descriptor);
                        opened(store.data_mut()).note_file(file);
                        Ok((Ok(descriptor),))
                    }
                    Err(refusal) => refusal.downcast().map(|code| (Err(code),)),
                }
            })
        },
    )?;
    let host = ResourceType::host::<Descriptor>();
    linker.instance(interfaces::FILES)?.resource(
        "descriptor",
        host,
        move |mut store: StoreContextMut<'_, T>, rep| {
            store.data_mut().filesystem().drop(Resource::new_own(rep))?;
            opened(store.data_mut()).close_for_component();
            Ok(())
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
