//! A job's streams as a guest sees them.
//!
//! wasmtime-wasi's own asynchronous stdout hands the bytes to a task and drops what that task has
//! not written when the store goes. Here a write that returned has reached its destinations.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::job::{Fault, Input, Output};

/// The most that is written at once, which is what one read of a request gives. It also bounds `write-zeroes` (GHSA-gqmc).
const PIECE: usize = 1 << 20;

/// What a component is permitted to write while there is room at all. The C library of wasm32-wasip2 cuts a
/// write to what is permitted, and few programs look at the count of a blocking write: a pipe takes the whole.
/// [`super::preview2`] waits for room between the pieces of a larger write.
const PERMIT: usize = i32::MAX as usize;

/// A job's stdin. Clones share it, as WASI demands of every handle to stdin.
#[derive(Clone)]
pub(super) struct Stdin(Arc<Mutex<Reading>>);

struct Reading {
    input: Input,
    fault: Option<Fault>,
}

impl Stdin {
    pub(in crate::wasm) fn new(input: Input) -> Stdin {
        Stdin(Arc::new(Mutex::new(Reading { input, fault: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to read, be it bytes, the end or a fault.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut reading = self.lock();
        if let Err(fault) = ready!(reading.input.poll_filled(context)) {
            reading.fault = Some(fault);
        }
        Poll::Ready(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }
}

impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut reading = self.lock();
        if let Some(fault) = reading.fault.take() {
            return Err(StreamError::Trap(wasmtime::Error::new(fault)));
        }
        if reading.input.is_ended() {
            return Err(StreamError::Closed);
        }
        Ok(reading.input.take(size))
    }
}

impl AsyncRead for Stdin {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(context));
        let mut reading = self.lock();
        if let Some(fault) = reading.fault.take() {
            return Poll::Ready(Err(io::Error::other(fault)));
        }
        buffer.put_slice(&reading.input.take(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

/// A job's stdout or stderr.
#[derive(Clone)]
pub(in crate::wasm) struct Stdout {
    output: Output,
    /// Bytes the job may write in all.
    most: u64,
    gone: Gone,
}

/// What a guest is told whose reader has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::wasm) enum Gone {
    /// `EPIPE`, as a module knows it.
    Pipe,
    /// That the stream is closed, as a component knows it.
    Closed,
}

/// The stdout of a module that has descriptors: the one handle to it goes when the module closes it.
pub(in crate::wasm) struct Descriptor(pub(in crate::wasm) Stdout);

/// What a descriptor leads to. Dropping it closes the output, if the job goes on.
struct Opened(Stdout);

/// Says at its drop that the job is over. To be dropped before what the job has open.
pub(in crate::wasm) struct Over(pub(in crate::wasm) Output);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.output.close();
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Opened {
    async fn ready(&mut self) {
        self.0.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Opened {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.check_write()
    }

    fn write_zeroes(&mut self, count: usize) -> StreamResult<()> {
        self.0.write_zeroes(count)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.blocking_write_and_flush(bytes).await
    }
}

impl IsTerminal for Descriptor {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Descriptor {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        self.0.async_stream()
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Opened(self.0.clone()))
    }
}

impl Stdout {
    pub(in crate::wasm) fn new(output: Output, most: u64, gone: Gone) -> Stdout {
        Stdout { output, most, gone }
    }

    /// Writes the bytes unless they are one too many.
    fn put(&self, bytes: &Bytes) -> StreamResult<()> {
        if self.output.written().saturating_add(bytes.len() as u64) > self.most {
            return Err(StreamError::Trap(wasmtime::Error::new(Fault::OutputTooLarge(self.most))));
        }
        self.output.write(bytes).map_err(|error| self.gone.told(error))
    }

    async fn room(&self) -> StreamResult<usize> {
        poll_fn(|context| self.output.poll_room(context)).await.map_err(|error| self.gone.told(error))
    }
}

impl Gone {
    /// Keeps the error's kind, unless it is that nobody reads.
    fn told(self, error: io::Error) -> StreamError {
        match self {
            Gone::Closed if error.kind() == io::ErrorKind::BrokenPipe => StreamError::Closed,
            Gone::Closed | Gone::Pipe => StreamError::LastOperationFailed(wasmtime::Error::new(error)),
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {
        // A failure is told by the write that follows.
        let _room = self.room().await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Stdout {
    /// Ends a guest that writes where there is no room, or more than a piece: destinations take what there is
    /// no room for, and would take all of it.
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let permit = self.check_write()?.min(PIECE);
        if bytes.len() > permit {
            return Err(StreamError::Trap(wasmtime::format_err!(
                "wrote {} bytes to a stream that permits {permit}: ask `check-write` first",
                bytes.len()
            )));
        }
        self.put(&bytes)
    }

    fn write_zeroes(&mut self, count: usize) -> StreamResult<()> {
        // What is more is refused as a write of so many bytes, and not made.
        self.write(Bytes::from(vec![0; count.min(PIECE + 1)]))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match self.output.poll_room(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(room) => room.map(|_| PERMIT).map_err(|error| self.gone.told(error)),
            Poll::Pending => Ok(0),
        }
    }

    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            let room = self.room().await?;
            self.put(&bytes.split_to(room.min(bytes.len())))?;
        }
        Ok(())
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let room = ready!(self.output.poll_room(context))?.min(bytes.len());
        let written = self.put(&Bytes::copy_from_slice(&bytes[..room]));
        Poll::Ready(written.map(|()| room).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::pipe;

    #[test]
    fn a_component_writes_a_piece_where_there_is_room_and_no_byte_where_there_is_none() {
        let (writer, _reader) = pipe(PIECE + 10);
        let mut stdout = Stdout::new(Output::to(vec![Arc::new(writer)]), u64::MAX, Gone::Closed);

        assert_eq!(stdout.check_write().unwrap(), PERMIT);
        assert!(matches!(stdout.write(Bytes::from(vec![0; PIECE + 1])), Err(StreamError::Trap(_))));
        assert!(matches!(stdout.write_zeroes(usize::MAX), Err(StreamError::Trap(_))));
        stdout.write(Bytes::from(vec![0; PIECE])).unwrap();
        stdout.write_zeroes(PIECE).unwrap();
        assert_eq!(stdout.check_write().unwrap(), 0);
        assert!(matches!(stdout.write(Bytes::from_static(&[0])), Err(StreamError::Trap(_))));
    }

    #[test]
    fn a_guest_whose_reader_has_gone_is_told_in_its_own_words() {
        for gone in [Gone::Closed, Gone::Pipe] {
            let (writer, reader) = pipe(10);
            drop(reader);
            let mut stdout = Stdout::new(Output::to(vec![Arc::new(writer)]), u64::MAX, gone);

            let told = stdout.check_write().unwrap_err();

            assert_eq!(matches!(told, StreamError::Closed), gone == Gone::Closed, "{told:?}");
        }
    }
}
