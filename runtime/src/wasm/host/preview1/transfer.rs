//! `fd_read`, `fd_write`, their positioned forms, and `random_get`, in pieces of a bounded size.
//!
//! wasmtime-wasi copies the bytes of a call on a file into host memory, and refuses a call whose copy
//! would be too large. Here a call on a file moves one piece and returns how much that was. A stream
//! takes all bytes, as a pipe does. The job yields between two pieces, and between many vectors, so
//! that its limits are checked and other jobs run.

use bytes::Bytes;
use tokio::task::yield_now;
use wasmtime::{Caller, Linker, Result};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{CiovecArray, Errno, Error, Fd, IovecArray, Size};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wiggle::{GuestMemory, GuestPtr};

use super::memory::{MODULE, address, bytes, number, parts, settle, told};
use super::tmp_growth;
use crate::wasm::host::core_state::State;
use crate::wasm::host::stdio::Stdout;

/// Bytes of a file that one call moves at most. The call needs two copies of them.
const PIECE: usize = 1 << 20;

/// Bytes written to a stream before the job yields.
const GULP: usize = 64 << 10;

/// Bytes written to a stream at once, as wasmtime-wasi 48.0.8 does.
const BLOCK: usize = 4 << 10;

/// Vectors read before the job yields.
const STRETCH: usize = 64 << 10;

/// Random bytes made before the job yields.
const RANDOM: usize = 64 << 10;

/// Bytes of a vector: an address and a length.
const VECTOR: usize = 8;

/// Where in a file a transfer begins.
#[derive(Clone, Copy)]
enum Position {
    Current,
    At(u64),
}

/// The vectors of a call: an array in the guest's memory.
#[derive(Clone, Copy)]
struct Vectors {
    /// The address of the array.
    at: usize,
    count: usize,
}

/// One vector.
#[derive(Clone, Copy)]
struct Vector {
    /// The address of the vector itself.
    at: usize,
    place: usize,
    length: usize,
}

/// Links the functions.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap_async(
        MODULE,
        "fd_read",
        |mut caller: Caller<'_, State>, (fd, at, count, result): (i32, i32, i32, i32)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                let outcome = read(state.wasi.get(), memory, fd.into(), Vectors::new(at, count)).await;
                told(memory, outcome, result)
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "fd_pread",
        |mut caller: Caller<'_, State>, (fd, at, count, offset, result): (i32, i32, i32, i64, i32)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                let vectors = Vectors::new(at, count);
                let outcome =
                    read_at(state.wasi.get(), memory, fd.into(), vectors, offset.cast_unsigned()).await;
                told(memory, outcome, result)
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "fd_write",
        |mut caller: Caller<'_, State>, (fd, at, count, result): (i32, i32, i32, i32)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                let (fd, vectors) = (Fd::from(fd), Vectors::new(at, count));
                let outcome = write_on(state, memory, fd, vectors).await;
                told(memory, outcome, result)
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "fd_pwrite",
        |mut caller: Caller<'_, State>, (fd, at, count, offset, result): (i32, i32, i32, i64, i32)| {
            Box::new(async move {
                let (memory, state) = parts(&mut caller)?;
                let (fd, vectors) = (Fd::from(fd), Vectors::new(at, count));
                let position = Position::At(offset.cast_unsigned());
                let outcome = write(state, memory, fd, vectors, position).await;
                told(memory, outcome, result)
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "random_get",
        |mut caller: Caller<'_, State>, (at, length): (i32, i32)| {
            Box::new(async move {
                let (mut at, mut left) = (at.cast_unsigned(), length.cast_unsigned());
                loop {
                    let (memory, state) = parts(&mut caller)?;
                    let piece = left.min(RANDOM as u32);
                    let outcome = state.wasi.get().random_get(
                        &mut GuestMemory::Unshared(memory),
                        GuestPtr::new(at),
                        piece,
                    );
                    left -= piece;
                    if left == 0 || outcome.is_err() {
                        return settle(outcome);
                    }
                    at = at.wrapping_add(piece);
                    yield_now().await;
                }
            })
        },
    )?;
    Ok(())
}

/// Writes to a stream, or to a file at its position.
async fn write_on(state: &mut State, memory: &mut [u8], fd: Fd, vectors: Vectors) -> Result<Size, Error> {
    if state.tmp.is_none()
        && let Some(vector) = vectors.small(memory)?
    {
        if let Some(stream) = state.wasi.untouched(fd) {
            return print(stream, bytes(memory, vector.place, vector.length)?).await;
        }
        let wasi = state.wasi.get();
        wasi.set_hostcall_fuel(VECTOR + GULP);
        return wasi.fd_write(&mut GuestMemory::Unshared(memory), fd, vector.alone()).await;
    }
    // Boxed: the future of a call is copied onto the heap, and most calls end above.
    match is_stream(state.wasi.get(), memory, fd) {
        true => Box::pin(pour(state.wasi.get(), memory, fd, vectors)).await,
        false => Box::pin(write(state, memory, fd, vectors, Position::Current)).await,
    }
}

/// Writes bytes to stdout or stderr, waiting for room.
async fn print(stream: &Stdout, bytes: &[u8]) -> Result<Size, Error> {
    for block in bytes.chunks(BLOCK) {
        stream.write_all(Bytes::copy_from_slice(block)).await?;
    }
    Ok(Size::try_from(bytes.len())?)
}

/// Reports whether a descriptor is one of stdio. Those have no position.
fn is_stream(wasi: &mut WasiP1Ctx, memory: &mut [u8], fd: Fd) -> bool {
    let position = wasi.fd_tell(&mut GuestMemory::Unshared(memory), fd);
    position.is_err_and(|error| error.downcast_ref() == Some(&Errno::Spipe))
}

/// Writes all bytes to a stream, waiting for room.
async fn pour(wasi: &mut WasiP1Ctx, memory: &mut [u8], fd: Fd, vectors: Vectors) -> Result<Size, Error> {
    let (first, total) = vectors.measure(memory, GULP).await?;
    wasi.set_hostcall_fuel(VECTOR + GULP);
    let Some(first) = first else {
        // The call still checks the descriptor.
        return wasi.fd_write(&mut GuestMemory::Unshared(memory), fd, nothing()).await;
    };
    if first.length == total && total <= GULP {
        return wasi.fd_write(&mut GuestMemory::Unshared(memory), fd, first.alone()).await;
    }
    let mut poured: Size = 0;
    // The bytes of the vector at `position` that are written already.
    let (mut position, mut begun) = (0, 0);
    let mut piece = Vec::with_capacity(VECTOR + total.min(GULP));
    loop {
        piece.clear();
        piece.resize(VECTOR, 0);
        while position < vectors.count && piece.len() < VECTOR + GULP {
            let Vector { place, length, .. } = vectors.get(memory, position)?;
            if length > 0 {
                let rest = &bytes(memory, place, length)?[begun..];
                let here = rest.len().min(VECTOR + GULP - piece.len());
                piece.extend_from_slice(&rest[..here]);
                begun += here;
            }
            if begun == length {
                (position, begun) = (position + 1, 0);
                give_way(position).await;
            }
        }
        if piece.len() == VECTOR {
            return Ok(poured);
        }
        Vector::lead(&mut piece);
        wasi.set_hostcall_fuel(VECTOR + GULP);
        match wasi.fd_write(&mut GuestMemory::Unshared(&mut piece), fd, GuestPtr::new((0, 1))).await {
            Ok(taken) => poured = poured.saturating_add(taken),
            // Report what was written; the next call will fail.
            Err(error) if poured > 0 && error.downcast_ref().is_some() => return Ok(poured),
            Err(error) => return Err(error),
        }
        if position == vectors.count {
            return Ok(poured);
        }
        yield_now().await;
    }
}

/// Yields after each [`STRETCH`] of vectors.
async fn give_way(position: usize) {
    if position.is_multiple_of(STRETCH) {
        yield_now().await;
    }
}

/// Writes up to one piece to a file.
async fn write(
    State { wasi, tmp, .. }: &mut State,
    memory: &mut [u8],
    fd: Fd,
    vectors: Vectors,
    position: Position,
) -> Result<Size, Error> {
    let wasi = wasi.get();
    let (first, total) = vectors.measure(memory, PIECE).await?;
    let mut most = PIECE;
    if let Some(tmp) = tmp.as_deref().filter(|tmp| tmp.holds(fd.into())) {
        let at = match position {
            Position::Current => wasi.fd_tell(&mut GuestMemory::Unshared(memory), fd)?,
            Position::At(offset) => offset,
        };
        let room = tmp.take_write(fd.into(), at, total.min(PIECE) as u64).await;
        most = usize::try_from(room.map_err(tmp_growth::refused)?).unwrap_or(PIECE);
    }
    wasi.set_hostcall_fuel(VECTOR + PIECE);
    let Some(first) = first else {
        return put(wasi, memory, fd, nothing(), position).await;
    };
    if first.length == total && total <= most {
        return put(wasi, memory, fd, first.alone(), position).await;
    }
    let mut piece = Vector::piece(total.min(most));
    let mut place = VECTOR;
    for number in 0..vectors.count {
        let Vector { place: from, length, .. } = vectors.get(memory, number)?;
        let length = length.min(piece.len() - place);
        piece[place..place + length].copy_from_slice(bytes(memory, from, length)?);
        place += length;
        if place == piece.len() {
            break;
        }
        give_way(number + 1).await;
    }
    put(wasi, &mut piece, fd, GuestPtr::new((0, 1)), position).await
}

async fn put(
    wasi: &mut WasiP1Ctx,
    memory: &mut [u8],
    fd: Fd,
    vectors: CiovecArray,
    position: Position,
) -> Result<Size, Error> {
    let mut memory = GuestMemory::Unshared(memory);
    match position {
        Position::Current => wasi.fd_write(&mut memory, fd, vectors).await,
        Position::At(offset) => wasi.fd_pwrite(&mut memory, fd, vectors, offset).await,
    }
}

/// Reads what a stream has, or up to one piece of a file.
async fn read(wasi: &mut WasiP1Ctx, memory: &mut [u8], fd: Fd, vectors: Vectors) -> Result<Size, Error> {
    let (first, total) = vectors.measure(memory, PIECE).await?;
    let (vector, max) = match first {
        Some(first) if is_stream(wasi, memory, fd) => (first.alone(), usize::MAX),
        Some(first) if first.length == total && total <= PIECE => (first.alone(), VECTOR + PIECE),
        Some(_) => {
            let mut piece = Vector::piece(total.min(PIECE));
            wasi.set_hostcall_fuel(VECTOR + PIECE);
            let found =
                wasi.fd_read(&mut GuestMemory::Unshared(&mut piece), fd, GuestPtr::new((0, 1))).await?;
            let mut rest = &piece[VECTOR..][..address(found.cast_signed())];
            for number in 0..vectors.count {
                let Vector { place: to, length, .. } = vectors.get(memory, number)?;
                let (here, further) = rest.split_at(length.min(rest.len()));
                bytes(memory, to, here.len())?.copy_from_slice(here);
                rest = further;
                if rest.is_empty() {
                    break;
                }
                give_way(number + 1).await;
            }
            return Ok(found);
        }
        None => (nothing(), usize::MAX),
    };
    wasi.set_hostcall_fuel(max);
    let vector: IovecArray = GuestPtr::new(vector.offset());
    wasi.fd_read(&mut GuestMemory::Unshared(memory), fd, vector).await
}

/// Reads at an offset of a file, into the first vector that is not empty.
async fn read_at(
    wasi: &mut WasiP1Ctx,
    memory: &mut [u8],
    fd: Fd,
    vectors: Vectors,
    offset: u64,
) -> Result<Size, Error> {
    let (first, _) = vectors.measure(memory, 0).await?;
    let vector: IovecArray = GuestPtr::new(first.map_or_else(nothing, Vector::alone).offset());
    // wasmtime-wasi reads 64 KiB at most here, so the fuel needs no bound.
    wasi.set_hostcall_fuel(usize::MAX);
    wasi.fd_pread(&mut GuestMemory::Unshared(memory), fd, vector, offset).await
}

/// An empty array of vectors.
fn nothing() -> CiovecArray {
    GuestPtr::new((0, 0))
}

impl Vectors {
    fn new(at: i32, count: i32) -> Vectors {
        Vectors { at: address(at), count: address(count) }
    }

    /// Reads a vector.
    ///
    /// # Errors
    /// It lies outside the memory.
    fn get(self, memory: &mut [u8], position: usize) -> Result<Vector, Error> {
        let at = self.at + position * VECTOR;
        Ok(Vector { at, place: number(memory, at)?, length: number(memory, at + 4)? })
    }

    /// Returns the vector of a call that has only one, if a stream and a file take so few bytes in the same way.
    fn small(self, memory: &mut [u8]) -> Result<Option<Vector>, Error> {
        if self.count != 1 {
            return Ok(None);
        }
        let vector = self.get(memory, 0)?;
        bytes(memory, vector.place, vector.length)?;
        Ok((1..=GULP).contains(&vector.length).then_some(vector))
    }

    /// Returns the first vector that is not empty, and the total bytes of all. The total is exact up to
    /// `max`; beyond, it is any larger number.
    async fn measure(self, memory: &mut [u8], max: usize) -> Result<(Option<Vector>, usize), Error> {
        let (mut first, mut total) = (None, 0);
        for position in 0..self.count {
            let vector = self.get(memory, position)?;
            if vector.length > 0 {
                bytes(memory, vector.place, vector.length)?;
                first.get_or_insert(vector);
                total += vector.length;
            }
            if total > max {
                break;
            }
            give_way(position + 1).await;
        }
        Ok((first, total))
    }
}

impl Vector {
    /// Returns an array of this vector alone.
    fn alone(self) -> CiovecArray {
        // Cannot overflow: the vector was read from this address.
        GuestPtr::new((u32::try_from(self.at).unwrap_or(u32::MAX), 1))
    }

    /// Makes a memory with one vector, followed by the bytes that it points to.
    fn piece(length: usize) -> Vec<u8> {
        let mut piece = vec![0; VECTOR + length];
        Vector::lead(&mut piece);
        piece
    }

    /// Points the vector at the start of a memory to all bytes after it.
    fn lead(piece: &mut [u8]) {
        let numbers = [VECTOR, piece.len() - VECTOR].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        piece[..4].copy_from_slice(&numbers[0].to_le_bytes());
        piece[4..VECTOR].copy_from_slice(&numbers[1].to_le_bytes());
    }
}
