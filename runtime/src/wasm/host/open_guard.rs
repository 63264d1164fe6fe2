//! Checks before a guest opens a file, and bookkeeping after it closes one.
//!
//! The limit of handles must have room, and so must the quota of the job's own `/tmp` for a new file. The path must not
//! name a device, a FIFO or a socket. Opening a FIFO waits for a peer, and a device does what it likes, so guests are
//! refused as on a file system without devices. If the file is exchanged for a FIFO between the check and the opening,
//! the job waits in a thread of its own handler ([`super::files`]).

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

use super::handles::{self, DescriptorCount};
use super::interfaces;
use super::tmp::Tmp;

/// The parameters of `path_open`: descriptor, lookup flags, path and its length, open flags, rights twice, descriptor
/// flags, address of the result.
type PathOpen = (i32, i32, i32, i32, i32, i64, i64, i32, i32);

/// `errno.success` of WASI preview 1.
const SUCCESS: i32 = 0;

/// `errno.acces` of WASI preview 1: permission denied.
const ACCES: i32 = 2;

/// `errno.mfile` of WASI preview 1: too many open files.
const MFILE: i32 = 33;

/// `errno.nospc` of WASI preview 1: no space left.
const NOSPC: i32 = 51;

/// `oflags.creat` of WASI preview 1.
const CREAT: i32 = 1;

/// `fdflags.append` of WASI preview 1.
const APPEND: i32 = 1;

/// The state that these functions work on.
type OpenParts<'s> = (&'s mut WasiP1Ctx, &'s mut DescriptorCount, Option<&'s mut Tmp>);

/// Guards `path_open` and `fd_close`. A core module gets lasting handles only by `path_open`.
pub(in crate::wasm) fn guard_core<T: Send + 'static>(
    linker: &mut Linker<T>,
    module: &str,
    parts: impl for<'s> Fn(&'s mut T) -> OpenParts<'s> + Copy + Send + Sync + 'static,
) -> Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(module, "path_open", move |mut caller: Caller<'_, T>, parameters: PathOpen| {
        Box::new(async move {
            let (fd, lookup, path, length, open, rights, inherited, flags, result) = parameters;
            let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
                bail!("exports no memory");
            };
            let (wasi, opened, _) = parts(caller.data_mut());
            let table = wasi.ctx().table;
            if !handles::has_room(table) || !opened.has_room_in(table) {
                return Ok(MFILE);
            }
            let fuel = caller.as_context_mut().hostcall_fuel();
            let (memory, state) = memory.data_and_store_mut(&mut caller);
            let (mut memory, (wasi, opened, tmp)) = (GuestMemory::Unshared(memory), parts(state));
            wasi.set_hostcall_fuel(fuel);
            let found = look(wasi, &mut memory, fd, lookup, (path, length)).await;
            if found.is_some_and(is_special) {
                return Ok(ACCES);
            }
            let mut tmp = tmp.filter(|tmp| tmp.holds(fd.cast_unsigned()));
            if let Some(tmp) = tmp.as_deref_mut().filter(|_| found.is_none() && open & CREAT != 0)
                && tmp.take_entry().await.is_err()
            {
                return Ok(NOSPC);
            }
            let place = tmp.is_some().then(|| handles::next(wasi.ctx().table)).transpose()?;
            wasi.set_hostcall_fuel(fuel);
            let outcome = preview1::path_open(
                wasi,
                &mut memory,
                fd,
                lookup,
                path,
                length,
                open,
                rights,
                inherited,
                flags,
                result,
            )
            .await?;
            if outcome == SUCCESS {
                opened.note(wasi.ctx().table);
                if let Some((tmp, place)) = tmp.zip(place) {
                    let made = memory.read(GuestPtr::<u32>::new(result.cast_unsigned()))?;
                    tmp.hold(made, handles::file_at(wasi.ctx().table, place)?, flags & APPEND != 0);
                }
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
            let (wasi, opened, tmp) = parts(state);
            let outcome = preview1::fd_close(wasi, &mut GuestMemory::Unshared(memory), fd).await?;
            if outcome == SUCCESS {
                opened.close_in(wasi.ctx().table);
                if let Some(tmp) = tmp {
                    tmp.release(fd.cast_unsigned());
                }
            }
            Ok(outcome)
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Returns the type of the file that a path leads to, or `None` on failure. The opening reports why.
async fn look(
    wasi: &mut WasiP1Ctx,
    memory: &mut GuestMemory<'_>,
    fd: i32,
    lookup: i32,
    (path, length): (i32, i32),
) -> Option<Filetype> {
    let lookup = Lookupflags::try_from(lookup).ok()?;
    let path = GuestPtr::<str>::new((path.cast_unsigned(), length.cast_unsigned()));
    let found = wasi.path_filestat_get(memory, Fd::from(fd), lookup, path).await;
    found.ok().map(|found| found.filetype)
}

/// Reports whether a path leads to something else than a file, a directory or a link.
fn is_special(found: Filetype) -> bool {
    !matches!(found, Filetype::RegularFile | Filetype::Directory | Filetype::SymbolicLink)
}

/// Guards `open-at`, the only way for a component to get handles of files, and the drop of descriptors.
pub(in crate::wasm) fn guard_components<T: WasiView + 'static>(
    linker: &mut component::Linker<T>,
    opened: impl Fn(&mut T) -> &mut DescriptorCount + Copy + Send + Sync + 'static,
    tmp: impl Fn(&mut T) -> Option<&mut Tmp> + Copy + Send + Sync + 'static,
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
                    // The code that is nearest to `EMFILE`.
                    return Ok((Err(ErrorCode::InsufficientMemory),));
                }
                let mut files = store.data_mut().filesystem();
                let borrowed = Resource::new_borrow(dir.rep());
                let found = files.stat_at(borrowed, follow, path.clone()).await.ok().map(|found| found.type_);
                if found.is_some_and(is_special_to_component) {
                    return Ok((Err(ErrorCode::Access),));
                }
                let within = tmp(store.data_mut()).filter(|tmp| tmp.holds(dir.rep()));
                let is_own = within.is_some();
                if let Some(tmp) = within.filter(|_| found.is_none() && open.contains(OpenFlags::CREATE))
                    && let Err(full) = tmp.take_entry().await
                {
                    return Ok((Err(full.into()),));
                }
                let mut files = store.data_mut().filesystem();
                match files.open_at(dir, follow, path, open, flags).await {
                    Ok(descriptor) => {
                        let file = handles::file_of(files.table, &descriptor);
                        if let Some(tmp) = tmp(store.data_mut()).filter(|_| is_own) {
                            tmp.hold(descriptor.rep(), file.clone(), false);
                        }
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
            if let Some(tmp) = tmp(store.data_mut()) {
                tmp.release(rep);
            }
            Ok(())
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Reports whether a path leads to something else than a file, a directory or a link.
fn is_special_to_component(found: DescriptorType) -> bool {
    let (file, dir, link) =
        (DescriptorType::RegularFile, DescriptorType::Directory, DescriptorType::SymbolicLink);
    ![file, dir, link].contains(&found)
}
