//! A bounded pipe of bytes from a job to the reader of its output, also bounded in memory.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;

use super::{Destination, FromClient, Usage};

/// Bytes a job may be ahead of its reader: the default capacity of a pipe, pipe(7).
pub const PIPE_CAPACITY: usize = 64 << 10;

/// A shorter piece is copied to the end of the waiting bytes. A queued piece costs an allocation and an
/// entry in the queue: 64 KiB in single bytes cost 4.7 MiB. It may also keep a much larger buffer alive.
/// Longer pieces are queued as they are, since a copy would cost more than they hold.
const SMALL: usize = 4 << 10;

/// Makes a pipe that holds `capacity` bytes before its writer has to wait. It uses at most twice as much
/// memory, whatever the sizes of the pieces.
pub fn pipe(capacity: usize) -> (PipeWriter, PipeReader) {
    SharedPipe { capacity, ..SharedPipe::default() }.ends()
}

/// Makes a pipe from a job. While the pipe is full, the job counts as waiting for its client.
pub fn pipe_of(usage: &Arc<Usage>, capacity: usize) -> (PipeWriter, PipeReader) {
    SharedPipe { capacity, usage: Some(usage.clone()), ..SharedPipe::default() }.ends()
}

/// The end that a job writes to. Dropping it ends the stream.
pub struct PipeWriter(Arc<Mutex<SharedPipe>>);

/// The end that is read. Dropping it makes every later write fail with `BrokenPipe`.
pub struct PipeReader(Arc<Mutex<SharedPipe>>);

#[derive(Default)]
struct SharedPipe {
    capacity: usize,
    /// The piece that found the pipe empty. Most responses are one piece, and so take no memory for a queue.
    first: Bytes,
    /// Pieces after it.
    chunks: VecDeque<Bytes>,
    /// Small pieces after the chunks, joined.
    tail: BytesMut,
    /// Bytes of the pieces and the tail.
    held: usize,
    writer_gone: bool,
    /// Whether the writer has closed the pipe; it may still exist.
    closed: bool,
    reader_gone: bool,
    /// Whether writes without a reader succeed and are dropped, instead of failing.
    forgiving: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The job that waits while the pipe is full, for its account.
    usage: Option<Arc<Usage>>,
}

/// Locks the pipe. A panic under the lock leaves whole chunks in it, so its content stays usable.
fn lock(shared: &Mutex<SharedPipe>) -> MutexGuard<'_, SharedPipe> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedPipe {
    fn ends(self) -> (PipeWriter, PipeReader) {
        let shared = Arc::new(Mutex::new(self));
        (PipeWriter(shared.clone()), PipeReader(shared))
    }

    /// Queues a piece: as it is if it is large or nothing waits, otherwise joined to the tail.
    fn push(&mut self, bytes: Bytes) {
        let is_alone = self.held == 0;
        self.held += bytes.len();
        if is_alone {
            self.first = bytes;
            return;
        }
        let is_joined = bytes.len() < SMALL;
        if is_joined && self.tail.len() + bytes.len() <= SMALL {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        if !self.tail.is_empty() {
            self.chunks.push_back(mem::take(&mut self.tail).freeze());
        }
        if is_joined {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.chunks.push_back(bytes);
        }
    }

    /// Wakes a writer that waits for room.
    fn make_room(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.usage.iter().for_each(|usage| usage.waits.end(FromClient::Room));
            writer.wake();
        }
    }

    /// Takes the first piece that is left, or else the tail.
    fn pop(&mut self) -> Option<Bytes> {
        if self.held == 0 {
            return None;
        }
        let mut piece = mem::take(&mut self.first);
        if piece.is_empty() {
            piece = self.chunks.pop_front().unwrap_or_else(|| mem::take(&mut self.tail).freeze());
        }
        self.held -= piece.len();
        Some(piece)
    }
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
            Poll::Ready(if shared.forgiving {
                Ok(shared.capacity)
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            })
        } else if shared.held < shared.capacity {
            Poll::Ready(Ok(shared.capacity - shared.held))
        } else {
            remember(&mut shared.writer, context);
            shared.usage.iter().for_each(|usage| usage.waits.begin(FromClient::Room));
            Poll::Pending
        }
    }

    fn write(&self, bytes: &Bytes) -> io::Result<()> {
        self.write_owned(bytes.clone())
    }

    fn write_owned(&self, bytes: Bytes) -> io::Result<()> {
        let mut shared = lock(&self.0);
        if shared.reader_gone {
            return if shared.forgiving { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) };
        }
        if !bytes.is_empty() {
            shared.push(bytes);
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
        if shared.held > 0 {
            return Poll::Ready(true);
        }
        if shared.writer_gone || shared.closed {
            return Poll::Ready(false);
        }
        remember(&mut shared.reader, context);
        Poll::Pending
    }

    /// Makes writes without this reader succeed and drops their bytes: the reader has all it needs.
    pub fn forgive(&self) {
        lock(&self.0).forgiving = true;
    }

    /// Reports whether the writer has closed the pipe, as opposed to having been dropped.
    pub fn is_closed(&self) -> bool {
        lock(&self.0).closed
    }

    /// Returns the number of bytes in the pipe. Never waits.
    pub fn held(&self) -> usize {
        lock(&self.0).held
    }

    /// Takes a chunk from the pipe. Never waits. Returns `None` if the pipe is empty now.
    pub fn take(&mut self) -> Option<Bytes> {
        let mut shared = lock(&self.0);
        let chunk = shared.pop()?;
        shared.make_room();
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
        shared.chunks = VecDeque::new();
        if shared.held > 0 {
            (shared.first, shared.tail, shared.held) = (Bytes::new(), BytesMut::new(), 0);
        }
        shared.make_room();
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

    /// Counts the memory that a pipe uses for its waiting bytes.
    fn memory(writer: &PipeWriter) -> usize {
        let shared = lock(&writer.0);
        let pieces: usize = shared.chunks.iter().map(Bytes::len).sum();
        shared.first.len() + pieces + shared.chunks.capacity() * size_of::<Bytes>() + shared.tail.capacity()
    }

    #[tokio::test]
    async fn small_pieces_cost_no_more_memory_than_large_ones() {
        const CAPACITY: usize = 64 << 10;
        for size in [1, 2, 5, 100, SMALL - 1, SMALL, SMALL + 1, CAPACITY] {
            let (writer, mut reader) = pipe(CAPACITY);
            let written: Vec<u8> = (0..CAPACITY).map(|at| (at / size) as u8).collect();
            for piece in written.chunks(size) {
                writer.write(&Bytes::copy_from_slice(piece)).unwrap();
            }

            assert!(memory(&writer) <= 2 * CAPACITY, "{} bytes for pieces of {size}", memory(&writer));
            let pieces = lock(&writer.0).chunks.len();
            assert!(pieces <= 2 * CAPACITY / SMALL, "{pieces} pieces of {size}");
            drop(writer);
            let read: Vec<u8> = reader.by_ref().collect::<Vec<_>>().await.concat();
            assert!(read == written, "pieces of {size}");
        }
    }

    #[test]
    fn pieces_come_out_in_the_order_in_which_they_went_in() {
        let (writer, mut reader) = pipe(1 << 20);
        let (mut written, mut read) = (Vec::new(), Vec::new());
        for (at, size) in [1, SMALL, 2, 3, SMALL - 1, 5, SMALL, SMALL, 7].into_iter().enumerate() {
            let piece = Bytes::from(vec![at as u8; size]);
            writer.write(&piece).unwrap();
            written.extend_from_slice(&piece);
            if at % 2 == 1 {
                read.extend_from_slice(&PipeReader::take(&mut reader).unwrap());
            }
        }

        while let Some(piece) = PipeReader::take(&mut reader) {
            read.extend_from_slice(&piece);
        }

        assert!(read == written);
        assert_eq!(reader.held(), 0);
    }

    #[tokio::test]
    async fn a_small_piece_does_not_keep_a_large_buffer_alive() {
        let (writer, mut reader) = pipe(16);
        let large = Bytes::from(vec![b'x'; 1 << 20]);
        writer.write(&Bytes::from_static(b"1")).unwrap();

        writer.write(&large.slice(..1)).unwrap();

        assert!(large.is_unique());
        assert_eq!(reader.next().await.as_deref(), Some(&b"1"[..]));
        assert_eq!(reader.next().await.as_deref(), Some(&b"x"[..]));
    }

    #[tokio::test]
    async fn a_piece_that_finds_the_pipe_empty_and_a_large_one_are_not_copied() {
        let (writer, mut reader) = pipe(1 << 20);
        for piece in [Bytes::from(vec![1; 10]), Bytes::from(vec![2; SMALL])] {
            writer.write(&piece).unwrap();

            assert_eq!(reader.next().await.map(|read| read.as_ptr()), Some(piece.as_ptr()));
        }
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
    async fn what_is_written_behind_a_reader_that_forgives_is_dropped() {
        let (writer, reader) = pipe(4);
        writer.write(&Bytes::from_static(b"1234")).unwrap();
        reader.forgive();
        drop(reader);

        for _ in 0..3 {
            assert_eq!(poll_fn(|context| writer.poll_room(context)).await.unwrap(), 4);
            writer.write(&Bytes::from_static(b"5678")).unwrap();
        }
        assert_eq!(memory(&writer), 0);
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
