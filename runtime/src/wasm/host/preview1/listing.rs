//! `fd_readdir`, which reads a directory only once, however many calls that takes.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::FileType;
use tokio::task::spawn_blocking;
use wasmtime::{Caller, Linker, Result};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p1::types::{Errno, Error, Fd, Filetype, Size};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wiggle::GuestMemory;

use super::memory::{MODULE, address, bytes, parts, settle, told};
use crate::wasm::host::core_state::State;
use crate::wasm::host::directory::{Listing, number_of};

/// Bytes of entries that are prepared at once, in host memory.
const PIECE: usize = 64 << 10;

/// Bytes of an entry before its name.
const ENTRY: usize = 24;

/// A chunk of a listing.
struct Filled {
    listing: Listing,
    entries: Vec<u8>,
    /// Whether the end of the directory is reached.
    ended: bool,
}

/// Links the function.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    type Parameters = (i32, i32, i32, i64, i32);
    linker.func_wrap_async(
        MODULE,
        "fd_readdir",
        |mut caller: Caller<'_, State>, (fd, to, length, place, result): Parameters| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                let (to, length) = (address(to), address(length));
                if let Err(error) = bytes(memory, to, length) {
                    return settle(Err(error));
                }
                let read = read(state, memory, fd.into(), (to, length), place.cast_unsigned()).await;
                told(memory, read, result)
            })
        },
    )?;
    Ok(())
}

/// Reads entries from a position on, until the buffer is full or the directory ends.
async fn read(
    state: &mut State,
    memory: &mut [u8],
    fd: Fd,
    (to, length): (usize, usize),
    mut place: u64,
) -> Result<Size, Error> {
    // wasmtime-wasi does not tell which directory a descriptor is, but its WASI number identifies it.
    let found = state.wasi.get().fd_filestat_get(&mut GuestMemory::Unshared(memory), fd).await?;
    if found.filetype != Filetype::Directory {
        return Err(Errno::Badf.into());
    }
    let mut listing = state.listing.0.take().filter(|listing| listing.number() == found.ino);
    let (mut filled, mut ended) = (0, false);
    while filled < length && !ended {
        let max = length - filled;
        let dirs = if listing.is_none() { directories(state) } else { Vec::new() };
        let piece = spawn_blocking(move || {
            let listing = match listing {
                Some(listing) => listing,
                None => Listing::open(directory(&dirs, found.ino)?)?,
            };
            fill(listing, place, max)
        });
        let piece = piece.await.map_err(|failure| Error::trap(wasmtime::Error::new(failure)))?;
        let piece = piece.map_err(|error| Error::from(ErrorCode::from(error)))?;
        bytes(memory, to + filled, piece.entries.len())?.copy_from_slice(&piece.entries);
        filled += piece.entries.len();
        (ended, place) = (piece.ended, piece.listing.place());
        listing = Some(piece.listing);
    }
    state.listing.0 = listing.filter(|_| !ended);
    Ok(Size::try_from(filled)?)
}

/// Returns all directories that the job has open.
fn directories(state: &mut State) -> Vec<Arc<File>> {
    let entries = state.wasi.get().ctx().table.iter_mut();
    let dirs = entries.filter_map(|entry| match entry.downcast_ref()? {
        Descriptor::Dir(dir) => Some(dir.dir.clone()),
        Descriptor::File(_) => None,
    });
    dirs.collect()
}

/// Finds the directory with this WASI number. Any descriptor of the directory will do.
fn directory(dirs: &[Arc<File>], number: u64) -> io::Result<&File> {
    let same = |dir: &&Arc<File>| number_of(dir).is_ok_and(|found| found == number);
    dirs.iter().find(same).map(AsRef::as_ref).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Encodes entries for the module. The last one is cut at the end of the buffer; the module reads it
/// again from its position.
fn fill(mut listing: Listing, place: u64, max: usize) -> io::Result<Filled> {
    let mut entries = Vec::with_capacity(max.min(PIECE));
    listing.seek(place)?;
    while entries.len() < max.min(PIECE) {
        let before = listing.place();
        let Some(entry) = listing.next()? else {
            return Ok(Filled { listing, entries, ended: true });
        };
        let name = entry.name.as_bytes();
        if entries.len() + ENTRY + name.len() > PIECE && max > PIECE {
            listing.unread(entry, before);
            break;
        }
        entries.extend_from_slice(&entry.next.to_le_bytes());
        entries.extend_from_slice(&listing.identify(&entry)?.to_le_bytes());
        entries.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
        entries.extend_from_slice(&[kind(entry.kind) as u8, 0, 0, 0]);
        entries.extend_from_slice(name);
        if entries.len() > max {
            entries.truncate(max);
            listing.unread(entry, before);
        }
    }
    Ok(Filled { listing, entries, ended: false })
}

fn kind(kind: FileType) -> Filetype {
    match kind {
        FileType::RegularFile => Filetype::RegularFile,
        FileType::Directory => Filetype::Directory,
        FileType::Symlink => Filetype::SymbolicLink,
        FileType::BlockDevice => Filetype::BlockDevice,
        FileType::CharacterDevice => Filetype::CharacterDevice,
        FileType::Socket => Filetype::SocketStream,
        // Preview 1 has no type for a FIFO.
        FileType::Fifo | FileType::Unknown => Filetype::Unknown,
    }
}
