//! Counts WASI 0.2 calls that make a job's own `/tmp` larger, before they are carried out.

use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, HostDescriptor as _};
use wasmtime_wasi::p2::{DynOutputStream, FsError};

use crate::wasm::host::component_state::State;
use crate::wasm::host::interfaces::FILES;
use crate::wasm::host::interfaces::PREOPENS;

/// Links the functions.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.instance(PREOPENS)?.func_wrap(
        "get-directories",
        |mut store: StoreContextMut<'_, State>, (): ()| {
            let state = store.data_mut();
            let found = state.filesystem().get_directories()?;
            if let Some(tmp) = &mut state.tmp
                && let Some((own, _)) = found.get(tmp.place())
            {
                tmp.hold_dir(own.rep());
            }
            Ok((found,))
        },
    )?;
    let mut files = linker.instance(FILES)?;
    files.func_wrap_async(
        "[method]descriptor.create-directory-at",
        |mut store: StoreContextMut<'_, State>, (dir, path): (Resource<Descriptor>, String)| {
            Box::new(async move {
                let state = store.data_mut();
                if let Some(tmp) = state.tmp.as_deref().filter(|tmp| tmp.holds(dir.rep()))
                    && let Err(full) = tmp.take_entry().await
                {
                    return Ok((Err(ErrorCode::from(full)),));
                }
                said(state.filesystem().create_directory_at(dir, path).await)
            })
        },
    )?;
    files.func_wrap_async(
        "[method]descriptor.set-size",
        |mut store: StoreContextMut<'_, State>, (file, size): (Resource<Descriptor>, u64)| {
            Box::new(async move {
                let state = store.data_mut();
                if let Some(tmp) = state.tmp.as_deref()
                    && let Some(resized) = tmp.resize(file.rep(), size).await
                {
                    return Ok((resized.map_err(ErrorCode::from),));
                }
                said(state.filesystem().set_size(file, size).await)
            })
        },
    )?;
    files.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: StoreContextMut<'_, State>, (file, offset): (Resource<Descriptor>, u64)| {
            let rep = file.rep();
            let made = store.data_mut().filesystem().write_via_stream(file, offset);
            bounded(&mut store, rep, Some(offset), made)
        },
    )?;
    files.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: StoreContextMut<'_, State>, (file,): (Resource<Descriptor>,)| {
            let rep = file.rep();
            let made = store.data_mut().filesystem().append_via_stream(file);
            bounded(&mut store, rep, None, made)
        },
    )?;
    Ok(())
}

type GrowResult<T> = Result<(std::result::Result<T, ErrorCode>,)>;

fn said<T>(outcome: std::result::Result<T, FsError>) -> GrowResult<T> {
    match outcome {
        Ok(done) => Ok((Ok(done),)),
        Err(refusal) => refusal.downcast().map(|code| (Err(code),)),
    }
}

/// Replaces a stream to a file in the job's own `/tmp` by our own, which counts writes.
fn bounded(
    store: &mut StoreContextMut<'_, State>,
    file: u32,
    at: Option<u64>,
    made: std::result::Result<Resource<DynOutputStream>, FsError>,
) -> GrowResult<Resource<DynOutputStream>> {
    let State { tmp, table, .. } = store.data_mut();
    if let Ok(made) = &made
        && let Some(ours) = tmp.as_deref().and_then(|tmp| tmp.stream(file, at))
    {
        *table.get_mut(made)? = Box::new(ours);
    }
    said(made)
}
