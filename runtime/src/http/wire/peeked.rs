//! Bytes that were read from a client and put back for the next read.

use bytes::BytesMut;
use tokio::io::ReadBuf;

/// Bytes that were read and put back for the next read. The last element is read first.
#[derive(Default)]
pub(super) struct Peeked(Vec<BytesMut>);

impl Peeked {
    /// The most bytes that one read returns. Bytes that are put back are copied, and this bounds the copy.
    const PIECE: usize = 4 << 10;

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts bytes in front of the rest.
    pub(super) fn put_back(&mut self, bytes: BytesMut) {
        if !bytes.is_empty() {
            self.0.push(bytes);
        }
    }

    pub(super) fn read(&mut self, buffer: &mut ReadBuf<'_>) {
        let Some(first) = self.0.last_mut() else { return };
        let length = first.len().min(buffer.remaining()).min(Peeked::PIECE);
        buffer.put_slice(&first.split_to(length));
        if first.is_empty() {
            self.0.pop();
        }
    }
}
