//! Splits the bytes of an HTTP/2 connection into frames, in pieces of any size.

/// Walks from frame to frame.
#[derive(Default)]
pub(super) struct FrameReader {
    /// The beginning of an incomplete frame header.
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    left: usize,
}

/// A part of a frame.
pub(super) enum FramePart<'a> {
    Head(FrameHead),
    /// More payload of the frame of the last `Head`.
    Payload(&'a [u8]),
}

/// A frame header.
#[derive(Clone, Copy, Default)]
pub(super) struct FrameHead {
    /// Bytes of the payload.
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

/// The size of a frame header in bytes (RFC 9113 §4.1).
const HEAD: usize = 9;

/// Frame types (RFC 9113 §6).
pub(super) mod kind {
    pub(in crate::http) const DATA: u8 = 0;
    pub(in crate::http) const HEADERS: u8 = 1;
    pub(in crate::http) const RST_STREAM: u8 = 3;
    pub(in crate::http) const GOAWAY: u8 = 7;
    pub(in crate::http) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::http) const CONTINUATION: u8 = 9;
}

/// The flag on the last DATA or HEADERS frame of a stream.
const END_STREAM: u8 = 1;

/// The flag on the last frame of a field section.
const END_HEADERS: u8 = 4;

impl FrameHead {
    /// Reports whether a HEADERS or CONTINUATION frame is the last of its field section.
    pub(super) fn ends_fields(self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Reports whether a DATA or HEADERS frame is the last of its stream.
    pub(super) fn ends(self) -> bool {
        self.flags & END_STREAM != 0
    }
}

impl FrameReader {
    /// Takes the next part from the bytes. Returns `None` if they hold no complete part.
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
