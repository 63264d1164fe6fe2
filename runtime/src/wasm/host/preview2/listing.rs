//! Reads the entries of a directory, a few at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::FileType;
use tokio::task::spawn_blocking;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

use crate::wasm::host::component_state::State;
use crate::wasm::host::directory::{DirEntry, Listing};
use crate::wasm::host::interfaces::FILES;

/// Entries that are read at once, in host memory: 20 KiB with names of 255 bytes, for each stream of a
/// component. The directory is open only while they are read, so a stream costs no descriptor.
const READ: usize = 64;

/// The state of a `directory-entry-stream`.
struct EntryStream {
    dir: Arc<File>,
    /// The position of the next read; `None` at the end or after an error.
    place: Option<u64>,
    ready: VecDeque<DirEntry>,
}

/// Links the stream and the functions that make it and read it.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    let mut files = linker.instance(FILES)?;
    let dropped = |mut store: StoreContextMut<'_, State>, stream| {
        store.data_mut().ctx().table.delete(Resource::<EntryStream>::new_own(stream))?;
        Ok(())
    };
    files.resource("directory-entry-stream", ResourceType::host::<EntryStream>(), dropped)?;
    files.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut store: StoreContextMut<'_, State>, (dir,): (Resource<Descriptor>,)| {
            Box::new(async move { Ok((open(store.data_mut(), &dir).await?,)) })
        },
    )?;
    files.func_wrap_async(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store: StoreContextMut<'_, State>, (stream,): (Resource<EntryStream>,)| {
            Box::new(async move { Ok((next(store.data_mut(), &stream).await?,)) })
        },
    )?;
    Ok(())
}

type ListingOutcome<T> = std::result::Result<T, ErrorCode>;

async fn open(
    state: &mut State,
    dir: &Resource<Descriptor>,
) -> Result<ListingOutcome<Resource<EntryStream>>> {
    let table = state.ctx().table;
    let dir = match table.get(dir)? {
        Descriptor::Dir(dir) => dir.dir.clone(),
        Descriptor::File(_) => return Ok(Err(ErrorCode::NotDirectory)),
    };
    Ok(match spawn_blocking(move || read(&dir, 0).map(|read| (dir, read))).await? {
        Ok((dir, (place, ready))) => Ok(table.push(EntryStream { dir, place, ready })?),
        Err(error) => Err(error.into()),
    })
}

async fn next(
    state: &mut State,
    stream: &Resource<EntryStream>,
) -> Result<ListingOutcome<Option<DirectoryEntry>>> {
    let reading = state.ctx().table.get_mut(stream)?;
    if reading.ready.is_empty()
        && let Some(place) = reading.place.take()
    {
        let dir = reading.dir.clone();
        (reading.place, reading.ready) = match spawn_blocking(move || read(&dir, place)).await? {
            Ok(read) => read,
            Err(error) => return Ok(Err(error.into())),
        };
    }
    let entry = |entry: DirEntry| DirectoryEntry { type_: kind(entry.kind), name: entry.name };
    Ok(Ok(reading.ready.pop_front().map(entry)))
}

/// Reads some entries from a position on, and returns the next position, or `None` at the end.
fn read(dir: &File, place: u64) -> io::Result<(Option<u64>, VecDeque<DirEntry>)> {
    let (mut listing, mut ready) = (Listing::open(dir)?, VecDeque::new());
    listing.seek(place)?;
    while ready.len() < READ {
        match listing.next()? {
            Some(entry) if matches!(&*entry.name, "." | "..") => {}
            Some(entry) => ready.push_back(entry),
            None => return Ok((None, ready)),
        }
    }
    Ok((Some(listing.place()), ready))
}

fn kind(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::Socket => DescriptorType::Socket,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Unknown => DescriptorType::Unknown,
    }
}
