//! A component's output stream to a file in its own `/tmp`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::fs::fstat;
use tokio::task::{JoinHandle, spawn_blocking};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::scratch::Quota;

/// Bytes of one write at most; the host holds them in memory.
const PIECE: usize = 64 << 10;

/// An output stream that counts each write. wasmtime-wasi's own stream would not.
pub(in crate::wasm) struct TmpStream {
    file: Arc<File>,
    quota: Arc<Mutex<Quota>>,
    /// Where the next write goes; `None` appends.
    at: Option<u64>,
    state: State,
}

enum State {
    Ready,
    /// A thread writes, and returns how many bytes it wrote.
    Writing(JoinHandle<io::Result<u64>>),
    Failed(io::Error),
    Closed,
}

impl TmpStream {
    pub(super) fn new(file: Arc<File>, quota: Arc<Mutex<Quota>>, at: Option<u64>) -> TmpStream {
        TmpStream { file, quota, at, state: State::Ready }
    }

    /// Returns an earlier failure, once.
    fn failure(&mut self) -> StreamResult<()> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            State::Closed => Err(StreamError::Closed),
            state @ (State::Ready | State::Writing(_)) => {
                self.state = state;
                Ok(())
            }
        }
    }
}

/// How a write makes a file larger.
#[derive(Clone, Copy)]
pub(super) struct Growth {
    /// Bytes that the file grows by, the gap included.
    pub(super) bytes: u64,
    /// Bytes between the end of the file and a write behind it.
    gap: u64,
    /// Bytes of the write that replace others.
    overlap: u64,
}

impl Growth {
    /// Measures a write of `length` bytes at a position of a file.
    pub(super) fn of(size: u64, position: u64, length: u64) -> Growth {
        if length == 0 {
            // Makes no file larger, wherever it is.
            return Growth { bytes: 0, gap: 0, overlap: 0 };
        }
        let bytes = position.saturating_add(length).saturating_sub(size);
        let gap = position.saturating_sub(size);
        Growth { bytes, gap, overlap: size.saturating_sub(position).min(length) }
    }

    /// Counts as much of the growth as there is room for. Returns how many bytes of the write may be written, as
    /// write(2) does: a disk that is nearly full takes a part. Blocks.
    ///
    /// # Errors
    /// `ENOSPC` if not even one byte may be written.
    pub(super) fn take(self, quota: &mut Quota) -> io::Result<u64> {
        let Growth { bytes, gap, overlap } = self;
        if bytes == 0 {
            return Ok(overlap);
        }
        match quota.take_room(bytes, gap.saturating_add(1)) {
            Ok(taken) => Ok(overlap + taken - gap),
            Err(_full) if overlap > 0 => Ok(overlap),
            Err(full) => Err(full),
        }
    }
}

/// Writes as many bytes as the quota has room for, and returns how many. Blocks. Holds the lock throughout, so no
/// other write measures the file half-way.
///
/// # Errors
/// `ENOSPC` if the quota has room for none.
pub(super) fn write(file: &File, quota: &Mutex<Quota>, bytes: &[u8], at: Option<u64>) -> io::Result<u64> {
    let mut quota = lock(quota);
    let size = size(file)?;
    let from = at.unwrap_or(size);
    let taken = Growth::of(size, from, bytes.len() as u64).take(&mut quota)?;
    let fitting = usize::try_from(taken).map_or(bytes, |taken| &bytes[..taken.min(bytes.len())]);
    file.write_all_at(fitting, from)?;
    Ok(fitting.len() as u64)
}

/// Writes all bytes, in two steps if the first has room for a part: a stream reports the error of the rest, and keeps
/// the part.
fn write_all(file: &File, quota: &Mutex<Quota>, mut bytes: &[u8], at: Option<u64>) -> io::Result<u64> {
    let mut written = 0;
    while !bytes.is_empty() {
        let taken = write(file, quota, bytes, at.map(|at| at + written))?;
        written += taken;
        bytes = usize::try_from(taken).ok().and_then(|taken| bytes.get(taken..)).unwrap_or_default();
    }
    Ok(written)
}

#[wasmtime_wasi::async_trait]
impl Pollable for TmpStream {
    async fn ready(&mut self) {
        let State::Writing(task) = &mut self.state else { return };
        self.state = match task.await.map_err(io::Error::other).flatten() {
            Ok(written) => {
                self.at = self.at.map(|at| at + written);
                State::Ready
            }
            Err(error) => State::Failed(error),
        };
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for TmpStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.failure()?;
        if !matches!(self.state, State::Ready) || bytes.len() > PIECE {
            let said = "wrote more to a file than its stream permitted: call `check-write` first";
            return Err(StreamError::Trap(wasmtime::format_err!("{said}")));
        }
        let (file, quota, at) = (self.file.clone(), self.quota.clone(), self.at);
        self.state = State::Writing(spawn_blocking(move || write_all(&file, &quota, &bytes, at)));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Nothing to flush: the thread writes everything.
        self.failure()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.failure()?;
        Ok(if matches!(self.state, State::Ready) { PIECE } else { 0 })
    }

    async fn cancel(&mut self) {
        if let State::Writing(task) = std::mem::replace(&mut self.state, State::Closed) {
            // A write cannot be cancelled, so this waits for it.
            let _written = task.await;
        }
    }
}

pub(super) fn size(file: &File) -> io::Result<u64> {
    Ok(fstat(file)?.st_size.cast_unsigned())
}

pub(super) fn lock(quota: &Mutex<Quota>) -> MutexGuard<'_, Quota> {
    // A poisoned lock is harmless: the counts are valid after every statement.
    quota.lock().unwrap_or_else(PoisonError::into_inner)
}
