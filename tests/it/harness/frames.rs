//! An HTTP/2 client that exposes every frame as it is on the wire.

use std::io;

use super::Client;
pub(crate) use super::wire::{PREFACE, block, flag, frame, kind};

/// The error code of an internal error (RFC 9113 §7).
pub(crate) const INTERNAL_ERROR: u32 = 2;

/// A connection.
pub(crate) struct Frames(pub(crate) Client);

/// A received frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A received response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Makes the frame of a complete request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    head(stream, "GET", path, &[], flag::END_STREAM)
}

/// Makes the frame of a request's head.
pub(crate) fn head(stream: u32, method: &str, path: &str, fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    let mut all = vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "test")];
    all.extend(fields);
    frame(kind::HEADERS, flags | flag::END_HEADERS, stream, &block(&all))
}

impl Frames {
    /// Opens HTTP/2 on a connection, with these settings.
    pub(crate) fn begin(mut client: Client, settings: &[(u16, u32)]) -> Frames {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        client.send([PREFACE, &frame(kind::SETTINGS, 0, 0, &payload)].concat());
        Frames(client)
    }

    /// Sends bytes unchanged.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes);
    }

    /// Sends bytes to a server that may have closed the connection.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.try_send(bytes)
    }

    /// Receives the next frame other than SETTINGS, PING and WINDOW_UPDATE. SETTINGS and PING are acknowledged.
    pub(crate) fn next(&mut self) -> Frame {
        loop {
            let frame = self.any();
            match (frame.kind, frame.flags & flag::ACK) {
                (kind::SETTINGS, 0) => drop(self.try_send(self::frame(kind::SETTINGS, flag::ACK, 0, &[]))),
                (kind::PING, 0) => {
                    drop(self.try_send(self::frame(kind::PING, flag::ACK, 0, &frame.payload)));
                }
                (kind::SETTINGS | kind::PING | kind::WINDOW_UPDATE, _) => {}
                _ => return frame,
            }
        }
    }

    /// Reports whether a GOAWAY is among the bytes that have been read and not taken. Reads nothing.
    pub(crate) fn is_told_to_go(&self) -> bool {
        let mut rest = &self.0.buffer[..];
        while let [a, b, c, kind, ..] = *rest {
            if kind == kind::GOAWAY {
                return true;
            }
            rest = rest.get(9 + length([a, b, c])..).unwrap_or_default();
        }
        false
    }

    fn any(&mut self) -> Frame {
        let head = self.0.take(9);
        let length = length([head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        Frame { kind: head[3], flags: head[4], stream, payload: self.0.take(length) }
    }

    /// Receives a whole response; frames of other streams fail the test.
    pub(crate) fn answer(&mut self, stream: u32) -> Answer {
        let head = self.next();
        assert_eq!((head.kind, head.stream), (kind::HEADERS, stream), "{head:?}");
        let mut answer = Answer { status: head.status(), body: Vec::new() };
        let mut ended = head.ends();
        while !ended {
            let frame = self.next();
            assert_eq!(frame.stream, stream, "{frame:?}");
            match frame.kind {
                kind::DATA => answer.body.extend(&frame.payload),
                kind::HEADERS => {}
                _ => panic!("{frame:?}"),
            }
            ended = frame.ends();
        }
        answer
    }
}

/// Returns the length of a payload from the first bytes of its frame (RFC 9113 §4.1).
fn length([a, b, c]: [u8; 3]) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

impl Frame {
    /// Reports whether the frame is the last of its stream.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }

    /// Returns the error code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let from = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[from..from + 4].try_into().unwrap())
    }

    /// Returns the status in a head. Works only for the first head of a connection with that status.
    pub(crate) fn status(&self) -> u16 {
        // RFC 7541, appendix A: the static table.
        const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match self.payload[..] {
            [index @ 0x88..=0x8e, ..] => KNOWN[usize::from(index - 0x88)],
            // RFC 7541, appendix B: the digits 0 to 2 have codes of five bits, 3 to 9 of six.
            [0x48, 0x82 | 0x83, ref huffman @ ..] => {
                let mut bits = huffman.iter().take(3).fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
                bits <<= 8;
                let mut status = 0;
                for _ in 0..3 {
                    let (digit, length) = match bits >> 27 {
                        digit @ 0..3 => (digit, 5),
                        _ => ((bits >> 26) - 0b01_1001 + 3, 6),
                    };
                    status = status * 10 + u16::try_from(digit).unwrap();
                    bits <<= length;
                }
                status
            }
            _ => panic!("no status that is known: {:x?}", self.payload),
        }
    }
}
