//! Writes to files and streams, in pieces of a bounded size.
//!
//! A write to a file takes one piece and returns how much that was. A write to a stream takes everything,
//! as a pipe does: the call waits for room, and the job yields between two pieces.

use bytes::Bytes;
use rustix::io::Errno;
use tokio::task::yield_now;
use wasmtime::component::{Linker, Resource, WasmList};
use wasmtime::{AsContext as _, Result, StoreContextMut};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, HostDescriptor as _};
use wasmtime_wasi::p2::bindings::io::streams;
use wasmtime_wasi::p2::{DynOutputStream, StreamError};

use crate::wasm::host::component_state::State;
use crate::wasm::host::interfaces::FILES;
use crate::wasm::host::interfaces::STREAMS;

/// Bytes of a file that one call writes at most, in host memory.
const PIECE: usize = 1 << 20;

/// Bytes of a stream that are written before the job yields.
const GULP: usize = 64 << 10;

/// Links the functions.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.instance(STREAMS)?.func_wrap_async(
        "[method]output-stream.write",
        |mut store: StoreContextMut<'_, State>,
         (stream, bytes): (Resource<DynOutputStream>, WasmList<u8>)| {
            Box::new(async move {
                let poured = pour(&mut store, &stream, &bytes).await;
                let told = poured.or_else(|error| {
                    streams::Host::convert_stream_error(store.data_mut().ctx().table, error).map(Err)
                });
                Ok((told?,))
            })
        },
    )?;
    linker.instance(FILES)?.func_wrap_async(
        "[method]descriptor.write",
        |mut store: StoreContextMut<'_, State>,
         (file, bytes, offset): (Resource<Descriptor>, WasmList<u8>, u64)| {
            Box::new(async move {
                let bytes = bytes.as_le_slice(store.as_context());
                let piece = bytes[..bytes.len().min(PIECE)].to_vec();
                if let Some(tmp) = store.data_mut().tmp.as_deref().filter(|tmp| tmp.holds(file.rep())) {
                    let written = tmp.write(file.rep(), piece, offset).await;
                    return Ok((written.unwrap_or(Err(Errno::BADF.into())).map_err(ErrorCode::from),));
                }
                match store.data_mut().filesystem().write(file, piece, offset).await {
                    Ok(written) => Ok((Ok(written),)),
                    Err(refusal) => refusal.downcast().map(|code| (Err(code),)),
                }
            })
        },
    )
}

/// Writes all bytes to a stream, waiting for room.
async fn pour(
    store: &mut StoreContextMut<'_, State>,
    stream: &Resource<DynOutputStream>,
    bytes: &WasmList<u8>,
) -> std::result::Result<std::result::Result<(), streams::StreamError>, StreamError> {
    let mut at = 0;
    loop {
        let rest = &bytes.as_le_slice(store.as_context())[at..];
        let (left, mut piece) = (rest.len(), Bytes::copy_from_slice(&rest[..rest.len().min(GULP)]));
        let stream = store.data_mut().ctx().table.get_mut(stream)?;
        if left > 0 {
            let permit = stream.write_ready().await?;
            piece.truncate(permit);
        }
        at += piece.len();
        let is_last = piece.len() == left;
        stream.write(piece)?;
        if is_last {
            return Ok(Ok(()));
        }
        yield_now().await;
    }
}
