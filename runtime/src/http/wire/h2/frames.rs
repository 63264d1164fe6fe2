//! The frames in a stream of bytes of HTTP/2, in whatever pieces the bytes come.

/// Goes from frame to frame.
#[derive(Default)]
pub(super) struct FrameReader {
    /// The head of a frame that did not arrive whole.
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    left: usize,
}

/// What comes next.
pub(super) enum FramePart<'a> {
    Head(FrameHead),
    /// More of the payload of the frame whose head was the last.
    Payload(&'a [u8]),
}

/// What a frame says of itself.
#[derive(Clone, Copy, Default)]
pub(super) struct FrameHead {
    /// Bytes of its payload.
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

/// Bytes of the head of a frame (RFC 9113 §4.1).
const HEAD: usize = 9;

/// Kinds of frames (RFC 9113 §6).
pub(super) mod kind {
    pub(in crate::http) const DATA: u8 = 0;
    pub(in crate::http) const HEADERS: u8 = 1;
    pub(in crate::http) const RST_STREAM: u8 = 3;
    pub(in crate::http) const GOAWAY: u8 = 7;
    pub(in crate::http) const WINDOW_UPDATE: u8 = 8;
}

/// The flag of the last frame of a stream, if it is a DATA or HEADERS.
const END_STREAM: u8 = 1;

impl FrameHead {
    /// Reports whether a DATA or HEADERS is the last of its stream.
    pub(super) fn ends(self) -> bool {
        self.flags & END_STREAM != 0
    }
}

impl FrameReader {
    /// Takes the next part off the bytes; none: they have no other.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<FramePart<'a>> {
        if self.left > 0 && !bytes.is_empty() {
            let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= payload.len();
            *bytes = rest;
            return Some(FramePart::Payload(payload));
        }
        let (begun, rest) = bytes.split_at((HEAD - self.have).min(bytes.len()));
        self.head[self.have..self.have + begun.len()].copy_from_slice(begun);
        self.have += begun.len();
        *bytes = rest;
        if self.have < HEAD {
            return None;
        }
        let [high, middle, low, kind, flags, stream @ ..] = self.head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        (self.have, self.left) = (0, length);
        Some(FramePart::Head(FrameHead {
            length,
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        }))
    }

    /// Returns how much of the frame is still to come.
    pub(super) fn left(&self) -> usize {
        self.left
    }
}
