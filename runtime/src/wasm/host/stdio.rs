//! The stdio streams of a job, as wasmtime-wasi's stream types.
//!
//! The asynchronous stdout of wasmtime-wasi hands bytes to a task, and what the task has not written is lost when the
//! store is dropped. Here a write that has returned has reached its destinations.

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

/// Bytes of one write at most: what one read of a request returns. It also bounds `write-zeroes` (GHSA-gqmc).
const PIECE: usize = 1 << 20;

/// What `check-write` permits whenever there is any room. The C library of wasm32-wasip2 cuts a write to what is
/// permitted, and few programs check the count of a blocking write, since a pipe takes everything. [`super::preview2`]
/// waits for room between the pieces of a larger write.
const PERMIT: usize = i32::MAX as usize;

/// A job's stdin. Clones share one stream, as WASI demands of all handles to stdin.
#[derive(Clone)]
pub(super) struct Stdin(Arc<Mutex<StdinState>>);

struct StdinState {
    input: Input,
    fault: Option<Fault>,
}

impl Stdin {
    pub(in crate::wasm) fn new(input: Input) -> Stdin {
        Stdin(Arc::new(Mutex::new(StdinState { input, fault: None })))
    }

    fn lock(&self) -> MutexGuard<'_, StdinState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to read: bytes, the end or a fault.
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
    /// Maximum bytes that the job may write.
    max: u64,
    gone: GoneReader,
}

/// How a guest learns that its reader is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::wasm) enum GoneReader {
    /// As `EPIPE`, which core modules know.
    Pipe,
    /// As a closed stream, which components know.
    Closed,
}

/// The stdout of a core module. Its one handle is dropped when the module closes the descriptor.
pub(in crate::wasm) struct Descriptor(pub(in crate::wasm) Stdout);

/// The stream behind a descriptor. Dropping it closes the output, even while the job goes on.
struct OpenedStream(Stdout);

/// Marks the end of the job when dropped. Must be dropped before the job's open streams.
pub(in crate::wasm) struct EndMark(pub(in crate::wasm) Output);

impl Drop for OpenedStream {
    fn drop(&mut self) {
        self.0.output.close();
    }
}

impl Drop for EndMark {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for OpenedStream {
    async fn ready(&mut self) {
        self.0.ready().await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for OpenedStream {
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
        Box::new(OpenedStream(self.0.clone()))
    }
}

impl Stdout {
    pub(in crate::wasm) fn new(output: Output, max: u64, gone: GoneReader) -> Stdout {
        Stdout { output, max, gone }
    }

    /// Writes the bytes, unless they exceed the limit.
    fn put(&self, bytes: Bytes) -> StreamResult<()> {
        if self.output.written().saturating_add(bytes.len() as u64) > self.max {
            return Err(StreamError::Trap(wasmtime::Error::new(Fault::OutputTooLarge(self.max))));
        }
        self.output.write_owned(bytes).map_err(|error| self.gone.told(error))
    }

    /// Writes all bytes, waiting for room.
    pub(super) async fn write_all(&self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            let room = self.room().await?;
            self.put(bytes.split_to(room.min(bytes.len())))?;
        }
        Ok(())
    }

    async fn room(&self) -> StreamResult<usize> {
        poll_fn(|context| self.output.poll_room(context)).await.map_err(|error| self.gone.told(error))
    }
}

impl GoneReader {
    /// Converts an error. Only a missing reader has a form of its own; other errors keep their kind.
    fn told(self, error: io::Error) -> StreamError {
        match self {
            GoneReader::Closed if error.kind() == io::ErrorKind::BrokenPipe => StreamError::Closed,
            GoneReader::Closed | GoneReader::Pipe => {
                StreamError::LastOperationFailed(wasmtime::Error::new(error))
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {
        // The next write reports a failure.
        let _room = self.room().await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Stdout {
    /// Ends a guest that writes more than is permitted, or more than a piece: the destinations would accept it beyond
    /// their bounds.
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let permit = self.check_write()?.min(PIECE);
        if bytes.len() > permit {
            return Err(StreamError::Trap(wasmtime::format_err!(
                "wrote {} bytes to a stream that permits {permit}: ask `check-write` first",
                bytes.len()
            )));
        }
        self.put(bytes)
    }

    fn write_zeroes(&mut self, count: usize) -> StreamResult<()> {
        // A larger count is refused like a write of that size, without allocating it.
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

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_all(bytes).await
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let room = ready!(self.output.poll_room(context))?.min(bytes.len());
        let written = self.put(Bytes::copy_from_slice(&bytes[..room]));
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
        let mut stdout = Stdout::new(Output::to(vec![Arc::new(writer)]), u64::MAX, GoneReader::Closed);

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
        for gone in [GoneReader::Closed, GoneReader::Pipe] {
            let (writer, reader) = pipe(10);
            drop(reader);
            let mut stdout = Stdout::new(Output::to(vec![Arc::new(writer)]), u64::MAX, gone);

            let told = stdout.check_write().unwrap_err();

            assert_eq!(matches!(told, StreamError::Closed), gone == GoneReader::Closed, "{told:?}");
        }
    }
}
