//! The part of a stored request body that is written to a file: gathered, written in batches, and read back.
//!
//! The page cache takes or gives 64 KiB in some 15 µs. A blocking thread, and the wake-ups on the way to it and back, cost
//! 100 µs of processor time. So a batch is written by one such thread, the last bytes are not written at all, and what is
//! in the page cache is read without one.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::files::is_local;
use crate::http::wire::client_memory::{MemoryAccount, MemoryCharge};
use crate::job::Fault;
use crate::scratch::{Account, RATE_GRACE, Scratch};

/// Bytes that are gathered before they are written, and bytes that a blocking thread reads at once.
const BATCH: usize = 256 << 10;

/// Bytes that are gathered while memory is scarce. Clients choose the size of pieces, and one byte costs as much to write
/// as these.
const LEAST_BATCH: usize = 4 << 10;

/// Bytes that are read at once from the page cache.
const PIECE: usize = 64 << 10;

/// Bytes of a file that is closed at once. The kernel frees the pages of a file when it is closed, and waits for those
/// that it is writing to the disk, so a blocking thread closes a larger one.
const SMALL: u64 = 1 << 20;

/// The least rate of a client, in bytes a second, which applies after [`RATE_GRACE`] once more than half of the room for
/// all bodies is taken. A body at `http.min_rate` would hold some of that room for an hour.
const SCARCE_RATE: u64 = 16 << 10;

/// Where a body may be stored.
pub(in crate::http) struct SpoolSpace {
    /// Makes the files; `None` if there is no place for them.
    pub(in crate::http) scratch: Option<Arc<Scratch>>,
    /// The address of the client.
    pub(in crate::http) client: Option<IpAddr>,
}

/// The part of a body in a file, and the bytes after it that are not written yet. When the body is complete, these stay
/// in memory, unless the connections hold more than half of the memory that they may hold for their clients.
pub(super) struct SpoolFile {
    /// `None` before the first batch, and when all of it is read.
    file: Option<Arc<File>>,
    account: Arc<Account>,
    scratch: Arc<Scratch>,
    /// Its blocking threads write and read. A job with mounts is polled within a runtime of its own, whose threads may all
    /// wait for a file system that hangs.
    runtime: Handle,
    gathered: Vec<u8>,
    held: MemoryCharge,
    /// All bytes that were added.
    length: u64,
    /// Bytes in the file.
    written: u64,
    /// Bytes of the file that were read.
    read: u64,
    since: Instant,
    /// Whether the file system reads from the page cache without blocking.
    reads_now: bool,
    /// The last piece that was read. Its reader has dropped it by the next read, which uses its memory again.
    last: Bytes,
    reading: Option<JoinHandle<io::Result<(ThreadShare, BytesMut)>>>,
}

/// What a blocking thread has of a body. A client that leaves does not end the thread, which a slow disk may hold up for
/// long. Until then, the file and the bytes in the thread count against all limits: otherwise clients that come and leave
/// could have any number of both.
struct ThreadShare {
    /// Declared before `_account`: closed before its share is given back. `None` before the first batch.
    file: Option<Arc<File>>,
    held: MemoryCharge,
    _account: Arc<Account>,
}

impl SpoolFile {
    /// Takes a share of the limits on files. The file is made for the first batch. Must be called within the runtime of the
    /// daemon.
    ///
    /// # Errors
    /// There is no place for files, or a limit on them is reached.
    pub(super) fn begin(
        SpoolSpace { scratch, client }: &SpoolSpace,
        memory: &MemoryAccount,
    ) -> Result<SpoolFile, Fault> {
        let scratch = scratch.clone().ok_or(Fault::LengthRequired)?;
        let account = Arc::new(scratch.account(*client).map_err(no_room)?);
        Ok(SpoolFile {
            file: None,
            account,
            scratch,
            runtime: Handle::current(),
            gathered: Vec::new(),
            held: memory.charge(0),
            length: 0,
            written: 0,
            read: 0,
            since: Instant::now(),
            reads_now: false,
            last: Bytes::new(),
            reading: None,
        })
    }

    /// Adds the next bytes. Waits only if a batch is full or memory is scarce.
    ///
    /// # Errors
    /// There is no room for them, or the client is too slow for a scarce room.
    pub(super) async fn add(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.account.take(bytes.len() as u64).map_err(no_room)?;
        self.check_rate()?;
        self.length += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.gather(rest);
            let batch = if self.held.account().is_scarce() { LEAST_BATCH } else { BATCH };
            if self.gathered.len() >= batch {
                self.write().await.map_err(no_room)?;
            }
        }
        Ok(())
    }

    /// Waits until the room of the file is given to another client.
    pub(super) async fn evicted(&self) -> Fault {
        no_room(self.account.evicted().await)
    }

    /// Notes that all bytes were added. Returns how many.
    ///
    /// # Errors
    /// The room was given to another client, or the last bytes could not be written.
    pub(super) async fn end(&mut self) -> Result<u64, Fault> {
        self.account.settle().map_err(no_room)?;
        if self.held.account().is_scarce() && !self.gathered.is_empty() {
            self.write().await.map_err(no_room)?;
        }
        self.gathered.shrink_to_fit();
        self.held.set(self.gathered.capacity());
        Ok(self.length)
    }

    /// Returns the next bytes, or `None` after the last.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let piece = if self.read < self.written {
            match self.poll_read(context) {
                Poll::Ready(Ok(piece)) => piece,
                Poll::Ready(Err(error)) => {
                    let fault = Fault::Host(anyhow::Error::from(error).context("read a kept body"));
                    return Poll::Ready(Some(Err(fault)));
                }
                Poll::Pending => return Poll::Pending,
            }
        } else {
            let rest = mem::take(&mut self.gathered);
            self.held.set(rest.capacity());
            Bytes::from(rest)
        };
        Poll::Ready(Some(piece).filter(|piece| !piece.is_empty()).map(Ok))
    }

    /// Enforces the rate while room is scarce.
    fn check_rate(&self) -> Result<(), Fault> {
        let time = self.since.elapsed();
        let is_slow = time > RATE_GRACE && (self.length as f64) < SCARCE_RATE as f64 * time.as_secs_f64();
        if is_slow && self.account.is_scarce() { Err(Fault::InputSlow(SCARCE_RATE)) } else { Ok(()) }
    }

    /// Copies as many bytes as fit into the batch, so that no buffer of the connection is kept for a few bytes of it.
    /// Returns the rest.
    fn gather<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (now, rest) = bytes.split_at(bytes.len().min(BATCH - self.gathered.len()));
        let needed = self.gathered.len() + now.len();
        if needed > self.gathered.capacity() {
            // Doubled each time, but never to more than a batch.
            let capacity = (2 * self.gathered.capacity()).clamp(needed, BATCH);
            self.gathered.reserve_exact(capacity - self.gathered.len());
        }
        self.gathered.extend_from_slice(now);
        self.held.set(self.gathered.capacity());
        rest
    }

    /// Writes what is gathered on a blocking thread.
    async fn write(&mut self) -> io::Result<()> {
        let (scratch, at, batch) = (self.scratch.clone(), self.written, mem::take(&mut self.gathered));
        let mut share = self.share(batch.capacity());
        let writing = self.runtime.spawn_blocking(move || -> io::Result<(ThreadShare, bool, Vec<u8>)> {
            scratch.has_room(batch.len() as u64)?;
            let file = share.file.take().map_or_else(|| scratch.file().map(Arc::new), Ok)?;
            file.write_all_at(&batch, at)?;
            let reads_now = is_local(&file).unwrap_or(false);
            share.file = Some(file);
            Ok((share, reads_now, batch))
        });
        let (ThreadShare { file, held, .. }, reads_now, mut batch) =
            writing.await.map_err(io::Error::other)??;
        (self.file, self.held, self.reads_now) = (file, held, reads_now);
        self.written += batch.len() as u64;
        // While memory is scarce, that of a batch is not kept for the next bytes: their client may be slow.
        if self.held.account().is_scarce() {
            batch = Vec::new();
        }
        batch.clear();
        self.gathered = batch;
        self.held.set(self.gathered.capacity());
        Ok(())
    }

    /// Gives a blocking thread its share: the file, and the charge for this many bytes in the place of the bytes that are
    /// gathered or were read before.
    fn share(&mut self, bytes: usize) -> ThreadShare {
        self.held.set(self.gathered.capacity());
        let held = self.held.account().charge(bytes);
        ThreadShare { file: self.file.clone(), held, _account: self.account.clone() }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => {
                let buffer = mem::take(&mut self.last).try_into_mut().unwrap_or_default();
                match self.read_now(buffer) {
                    Ok(piece) => return Poll::Ready(Ok(piece)),
                    Err(buffer) => self.read_aside(buffer),
                }
            }
        };
        let Poll::Ready(outcome) = Pin::new(&mut reading).poll(context) else {
            self.reading = Some(reading);
            return Poll::Pending;
        };
        let (share, buffer) = outcome.map_err(io::Error::other)??;
        // Before the buffer is charged again.
        drop(share);
        Poll::Ready(Ok(self.pass(buffer)))
    }

    /// Reads from the page cache. Never blocks.
    ///
    /// # Errors
    /// The next bytes are not there, or the file system cannot tell. Returns the buffer.
    fn read_now(&mut self, mut buffer: BytesMut) -> Result<Bytes, BytesMut> {
        let (Some(file), true) = (&self.file, self.reads_now) else { return Err(buffer) };
        buffer.resize(self.left(PIECE), 0);
        match preadv2(file, &mut [IoSliceMut::new(&mut buffer)], self.read, ReadWriteFlags::NOWAIT) {
            Ok(count @ 1..) => {
                buffer.truncate(count);
                Ok(self.pass(buffer))
            }
            Ok(0) | Err(Errno::AGAIN) => Err(buffer),
            Err(_) => {
                self.reads_now = false;
                Err(buffer)
            }
        }
    }

    /// Begins to read on a blocking thread.
    fn read_aside(&mut self, mut buffer: BytesMut) -> JoinHandle<io::Result<(ThreadShare, BytesMut)>> {
        let (at, length) = (self.read, self.left(BATCH));
        let share = self.share(length.max(buffer.capacity()));
        self.runtime.spawn_blocking(move || -> io::Result<(ThreadShare, BytesMut)> {
            buffer.resize(length, 0);
            share.file.as_deref().ok_or(io::ErrorKind::NotFound)?.read_exact_at(&mut buffer, at)?;
            Ok((share, buffer))
        })
    }

    /// Returns how many bytes to read next, at most this many.
    fn left(&self, max: usize) -> usize {
        usize::try_from(self.written - self.read).unwrap_or(max).min(max)
    }

    /// Passes on what was read, and charges all memory of it. Closes the file after the last of it.
    fn pass(&mut self, buffer: BytesMut) -> Bytes {
        self.held.set(self.gathered.capacity() + buffer.capacity());
        let piece = buffer.freeze();
        self.read += piece.len() as u64;
        if self.read < self.written {
            self.last = piece.clone();
        } else {
            self.close();
        }
        piece
    }

    /// Closes the file. Its share of the limits is given back after that.
    fn close(&mut self) {
        let Some(file) = self.file.take() else { return };
        let (reading, account) = (self.reading.take(), self.account.clone());
        let close = move || {
            drop((file, reading));
            drop(account);
        };
        if self.written > SMALL { drop(self.runtime.spawn_blocking(close)) } else { close() }
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        self.close();
    }
}

fn no_room(error: io::Error) -> Fault {
    Fault::NoScratch(error.to_string())
}

#[cfg(test)]
mod tests;
