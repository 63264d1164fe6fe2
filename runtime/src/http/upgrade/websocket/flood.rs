//! Counts the frames of a WebSocket client before they are read.
//!
//! A control frame is answered or dropped, and an empty fragment adds nothing to a message. Both are
//! work that no job sees, so no limit of a job bounds it. tungstenite tells of control frames, but not of fragments. Both are
//! counted here against one bound, because a flood may mix them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::wire::h2::flood::{Flood, IdleCounter};

/// A connection whose frames are counted.
pub(super) struct CountedIo<S> {
    connection: S,
    /// `None` after a flood: frames are no longer counted.
    frames: Option<FramePosition>,
}

/// The position in the client's frames (RFC 6455 §5.2).
struct FramePosition {
    head: [u8; LONGEST],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    payload: u64,
    idle: IdleCounter,
}

/// The size of the longest head: two bytes, a length of eight, and a mask of four.
const LONGEST: usize = 14;

impl<S> CountedIo<S> {
    pub(super) fn new(connection: S) -> CountedIo<S> {
        CountedIo { connection, frames: Some(FramePosition::new()) }
    }
}

/// Reports whether a connection failed because it was flooded.
pub(super) fn is_flood(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Flood>())
}

impl FramePosition {
    fn new() -> FramePosition {
        FramePosition { head: [0; LONGEST], have: 0, payload: 0, idle: IdleCounter::new() }
    }

    /// Counts the frames in the next bytes.
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head[self.have] = byte;
            self.have += 1;
            bytes = rest;
            if self.have == self.expected() {
                self.have = 0;
                self.count()?;
            }
        }
        Ok(())
    }

    /// Returns how long the head is, as far as that is known.
    fn expected(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        // The reader refuses a frame without a mask.
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    /// Counts the frame of a complete head.
    fn count(&mut self) -> Result<(), Flood> {
        const LAST: u8 = 0x80;
        const CONTROL: u8 = 0x08;
        let [kind, length, long @ ..] = self.head;
        self.payload = match length & 0x7f {
            126 => u64::from(u16::from_be_bytes([long[0], long[1]])),
            127 => long[..8].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            short => u64::from(short),
        };
        let is_a_fragment_of_nothing = kind & LAST == 0 && self.payload == 0;
        if kind & CONTROL != 0 || is_a_fragment_of_nothing { self.idle.spend() } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.connection).poll_read(cx, buffer))?;
        let Some(frames) = &mut self.frames else { return Poll::Ready(Ok(())) };
        let counted = frames.push(&buffer.filled()[before..]);
        if counted.is_err() {
            self.frames = None;
        }
        Poll::Ready(counted.map_err(io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0; 4];

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = match payload.len() {
            short @ 0..126 => vec![0x80 | u8::try_from(short).unwrap()],
            long @ 126..0x10000 => [&[0x80 | 126][..], &u16::try_from(long).unwrap().to_be_bytes()].concat(),
            vast => [&[0x80 | 127][..], &(vast as u64).to_be_bytes()].concat(),
        };
        [&[kind], &length[..], &MASK, payload].concat()
    }

    #[test]
    fn what_no_job_sees_is_counted_in_whatever_pieces_it_comes() {
        // A ping, a pong, an empty first fragment, an empty later fragment.
        for idle in [frame(0x89, b"x"), frame(0x8a, &[1; 125]), frame(0x01, b""), frame(0x00, b"")] {
            for piece in [1, 7, 1000] {
                let mut frames = FramePosition::new();
                for bytes in idle.repeat(1000).chunks(piece) {
                    assert_eq!(frames.push(bytes), Ok(()));
                }

                assert_eq!(frames.push(&idle), Err(Flood::Idle));
            }
        }
    }

    #[test]
    fn what_carries_a_message_is_never_a_flood() {
        let mut frames = FramePosition::new();
        for message in [frame(0x81, b""), frame(0x01, b"x"), frame(0x80, b""), frame(0x82, &[0x89; 70_000])] {
            for _ in 0..1100 {
                assert_eq!(frames.push(&message), Ok(()));
            }
        }
        assert_eq!(frames.push(&frame(0x82, &[0x89; 300]).repeat(1100)), Ok(()));
    }
}
