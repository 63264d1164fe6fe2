//! `descriptor.write`: what fits a piece is written, and the call says how much that was.

use wasmtime::component::{Linker, Resource, WasmList};
use wasmtime::{AsContext as _, Result, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::HostDescriptor as _;

use super::FILES;
use crate::wasm::component::State;

/// The most that one call moves, in memory of the host.
const PIECE: usize = 1 << 20;

/// Links the function.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.instance(FILES)?.func_wrap_async(
        "[method]descriptor.write",
        |mut store: StoreContextMut<'_, State>,
         (file, bytes, offset): (Resource<Descriptor>, WasmList<u8>, u64)| {
            Box::new(async move {
                let bytes = bytes.as_le_slice(store.as_context());
                let piece = bytes[..bytes.len().min(PIECE)].to_vec();
                match store.data_mut().filesystem().write(file, piece, offset).await {
                    Ok(written) => Ok((Ok(written),)),
                    Err(refusal) => refusal.downcast().map(|code| (Err(code),)),
                }
            })
        },
    )
}
