//! The bytes from a server: a message that is larger than any result may be is replaced by an error.
//!
//! tokio-postgres reads a message whole before it hands on a part of it. `SELECT repeat('x', 1000000000)` is one message, so
//! the bound on results would come after a gigabyte of memory. Source of the format: PostgreSQL, "Message Formats".

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use crate::database::limits::MAX_RESULT_BYTES;

/// Bytes of the largest message: a result in one row, with lengths and names beside its values.
const MAX_MESSAGE: usize = MAX_RESULT_BYTES + (1 << 20);

/// Bytes that are read at once.
const PIECE: usize = 16 << 10;

/// The code of the error in place of a message that is too large: of the class that is for implementations.
pub(super) const TOO_LARGE: &str = "PC001";

/// Bytes before a message: its type and its length, which counts itself.
const HEAD: usize = 5;

/// A stream of messages.
pub(super) struct FrameBound<S> {
    inner: Result<S, Option<io::Error>>,
    binding: fn(&S) -> ChannelBinding,
    piece: Box<[u8]>,
    bound: MessageBound,
}

/// Passes bytes on, but for the content of messages that are too large.
#[derive(Default)]
struct MessageBound {
    /// Bytes that may be read.
    ready: BytesMut,
    /// The begin of the next message.
    head: [u8; HEAD],
    head_length: usize,
    /// Bytes of the current message that have not come yet.
    rest: usize,
    is_dropped: bool,
}

impl<S> FrameBound<S> {
    /// Wraps a connection without TLS.
    pub(super) fn plain(stream: S) -> FrameBound<S> {
        FrameBound::of(Ok(stream), |_| ChannelBinding::none())
    }

    /// Makes a connection that fails when it is used.
    pub(super) fn failed(error: io::Error) -> FrameBound<S> {
        FrameBound::of(Err(Some(error)), |_| ChannelBinding::none())
    }

    fn of(inner: Result<S, Option<io::Error>>, binding: fn(&S) -> ChannelBinding) -> FrameBound<S> {
        let piece = vec![0; PIECE].into_boxed_slice();
        FrameBound { inner, binding, piece, bound: MessageBound::default() }
    }
}

impl<S: TlsStream> FrameBound<S> {
    /// Wraps a connection with TLS.
    pub(super) fn over_tls(stream: S) -> FrameBound<S> {
        FrameBound::of(Ok(stream), S::channel_binding)
    }
}

impl MessageBound {
    /// Takes bytes from the server.
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let (now, later) = bytes.split_at(self.rest.min(bytes.len()));
                if !self.is_dropped {
                    self.ready.put_slice(now);
                }
                (self.rest, bytes) = (self.rest - now.len(), later);
                continue;
            }
            let (now, later) = bytes.split_at((HEAD - self.head_length).min(bytes.len()));
            self.head[self.head_length..self.head_length + now.len()].copy_from_slice(now);
            (self.head_length, bytes) = (self.head_length + now.len(), later);
            if self.head_length == HEAD {
                self.begin();
            }
        }
    }

    /// Begins a message, whose head is complete.
    fn begin(&mut self) {
        self.head_length = 0;
        let [_, length @ ..] = self.head;
        // A length that is wrong is passed on: the reader of messages refuses it.
        self.rest = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX).saturating_sub(4);
        self.is_dropped = self.rest > MAX_MESSAGE;
        match self.is_dropped {
            true => put_error(&mut self.ready),
            false => self.ready.put_slice(&self.head),
        }
    }
}

/// Writes an error as the server would send it.
fn put_error(into: &mut BytesMut) {
    let fields = [('S', "ERROR"), ('V', "ERROR"), ('C', TOO_LARGE), ('M', "a message is too large")];
    let length: usize = fields.iter().map(|(_, text)| text.len() + 2).sum();
    into.put_u8(b'E');
    // Below a hundred bytes.
    into.put_u32(u32::try_from(length + 5).unwrap_or(u32::MAX));
    for (kind, text) in fields {
        into.put_slice(kind.to_string().as_bytes());
        into.put_slice(text.as_bytes());
        into.put_u8(0);
    }
    into.put_u8(0);
}

/// Returns the stream, or the reason why there is none.
fn stream<S>(inner: &mut Result<S, Option<io::Error>>) -> io::Result<&mut S> {
    let none = || io::Error::from(io::ErrorKind::NotConnected);
    inner.as_mut().map_err(|error| error.take().unwrap_or_else(none))
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameBound<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let FrameBound { inner, piece, bound, .. } = self.get_mut();
        while bound.ready.is_empty() {
            let mut read = ReadBuf::new(piece);
            ready!(Pin::new(stream(inner)?).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            bound.take(read.filled());
        }
        let fits = bound.ready.len().min(out.remaining());
        out.put_slice(&bound.ready[..fits]);
        bound.ready.advance(fits);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameBound<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(stream(&mut self.get_mut().inner)?).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(stream(&mut self.get_mut().inner)?).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(stream(&mut self.get_mut().inner)?).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for FrameBound<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.as_ref().map_or_else(|_| ChannelBinding::none(), self.binding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.put_u32(u32::try_from(body.len() + 4).unwrap());
        bytes.put_slice(body);
        bytes
    }

    #[test]
    fn a_message_that_is_too_large_is_an_error_and_all_others_are_passed_on() {
        let largest = message(b'D', &vec![1; MAX_MESSAGE]);
        let larger = message(b'D', &vec![2; MAX_MESSAGE + 1]);
        let (small, empty) = (message(b'C', b"SELECT 1\0"), message(b'1', b""));
        let sent = [&small[..], &largest, &empty, &larger, &small].concat();
        let mut error = BytesMut::new();
        put_error(&mut error);
        assert_eq!(
            error.len(),
            1 + usize::try_from(u32::from_be_bytes(error[1..5].try_into().unwrap())).unwrap()
        );
        let wanted = [&small[..], &largest, &empty, &error, &small].concat();

        for piece in [1021, PIECE, sent.len()] {
            let mut bound = MessageBound::default();
            let mut most = 0_usize;
            let mut received = Vec::new();
            for piece in sent.chunks(piece) {
                bound.take(piece);
                most = most.max(bound.ready.len());
                received.extend_from_slice(&bound.ready.split());
            }

            assert!(received == wanted, "in pieces of {piece}");
            assert!(most <= piece + HEAD + error.len());
        }
    }

    #[test]
    fn messages_are_passed_on_however_they_come() {
        let sent = [message(b'C', b"SELECT 1\0"), message(b'1', b""), message(b'Z', b"I")].concat();

        for piece in 1..8 {
            let mut bound = MessageBound::default();
            sent.chunks(piece).for_each(|piece| bound.take(piece));

            assert_eq!(bound.ready, sent, "in pieces of {piece}");
        }
    }
}
