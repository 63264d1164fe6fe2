//! A bounded pipe of bytes from a job to whoever reads its output.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::Stream;

use super::Destination;

/// Makes a pipe that holds `capacity` bytes before its writer has to wait.
pub fn pipe(capacity: usize) -> (PipeWriter, PipeReader) {
    let shared = Arc::new(Mutex::new(Shared { capacity, ..Shared::default() }));
    (PipeWriter(shared.clone()), PipeReader(shared))
}

/// The end that a job writes to. Dropping it ends the stream.
pub struct PipeWriter(Arc<Mutex<Shared>>);

/// The end that is read. Dropping it makes every later write fail with `BrokenPipe`.
pub struct PipeReader(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    capacity: usize,
    chunks: VecDeque<Bytes>,
    held: usize,
    writer_gone: bool,
    /// Whether the writer has said that it writes no more, and may not be gone.
    closed: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Locks the pipe. A panic while it is held leaves whole chunks in it, so its content stays usable.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remember(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(context.waker()),
        None => *slot = Some(context.waker().clone()),
    }
}

impl Destination for PipeWriter {
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut shared = lock(&self.0);
        if shared.reader_gone {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        } else if shared.held < shared.capacity {
            Poll::Ready(Ok(shared.capacity - shared.held))
        } else {
            remember(&mut shared.writer, context);
            Poll::Pending
        }
    }

    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        let mut shared = lock(&self.0);
        if shared.reader_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !bytes.is_empty() {
            shared.held += bytes.len();
            shared.chunks.push_back(bytes.clone());
            if let Some(reader) = shared.reader.take() {
                reader.wake();
            }
        }
        Ok(())
    }

    fn close(&self) {
        let mut shared = lock(&self.0);
        shared.closed = true;
        if let Some(reader) = shared.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.writer_gone = true;
        if let Some(reader) = shared.reader.take() {
            reader.wake();
        }
    }
}

impl PipeReader {
    /// Waits until there is a chunk to take (`true`) or none will come (`false`).
    pub fn poll_filled(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut shared = lock(&self.0);
        if !shared.chunks.is_empty() {
            return Poll::Ready(true);
        }
        if shared.writer_gone || shared.closed {
            return Poll::Ready(false);
        }
        remember(&mut shared.reader, context);
        Poll::Pending
    }

    /// Reports whether the writer has closed the pipe, and not just gone.
    pub fn is_closed(&self) -> bool {
        lock(&self.0).closed
    }

    /// Takes a chunk that is here. Never waits; none: nothing is here now.
    pub fn take(&mut self) -> Option<Bytes> {
        let mut shared = lock(&self.0);
        let chunk = shared.chunks.pop_front()?;
        shared.held -= chunk.len();
        if let Some(writer) = shared.writer.take() {
            writer.wake();
        }
        Some(chunk)
    }
}

impl Stream for PipeReader {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        ready!(self.poll_filled(context));
        Poll::Ready(self.take())
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        shared.reader_gone = true;
        shared.chunks.clear();
        shared.held = 0;
        if let Some(writer) = shared.writer.take() {
            writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use std::future::poll_fn;

    #[tokio::test]
    async fn a_full_pipe_makes_its_writer_wait_for_the_reader() {
        let (writer, mut reader) = pipe(4);
        writer.write(&Bytes::from_static(b"1234")).unwrap();
        let waiting = tokio::spawn(async move {
            let room = poll_fn(|context| writer.poll_room(context)).await.unwrap();
            writer.write(&Bytes::from_static(b"5")).unwrap();
            room
        });

        let first = reader.next().await;

        assert_eq!(first.as_deref(), Some(&b"1234"[..]));
        assert_eq!(waiting.await.unwrap(), 4);
        assert_eq!(reader.next().await.as_deref(), Some(&b"5"[..]));
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn a_writer_that_closes_is_told_from_one_that_goes() {
        for closes in [true, false] {
            let (writer, mut reader) = pipe(4);
            writer.write(&Bytes::from_static(b"1")).unwrap();
            if closes {
                writer.close();
            } else {
                drop(writer);
            }

            assert_eq!(reader.next().await.as_deref(), Some(&b"1"[..]));
            assert_eq!((reader.next().await, reader.is_closed()), (None, closes));
        }
    }

    #[tokio::test]
    async fn writing_to_nobody_is_a_broken_pipe() {
        let (writer, reader) = pipe(4);
        drop(reader);
        assert_eq!(writer.write(&Bytes::from_static(b"x")).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let room = poll_fn(|context| writer.poll_room(context)).await;
        assert_eq!(room.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
