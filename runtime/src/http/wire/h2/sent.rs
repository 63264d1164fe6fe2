//! Follows the frames sent to an HTTP/2 client, to see h2's own refusals and responses in progress.
//!
//! hyper reports an error that ends a connection, but without the text by which h2 names a flood, and nothing at all if
//! the client leaves first. It does not report the streams that h2 refuses by itself, nor whether a response that h2 has
//! taken still waits for a window of its client. Only the frames tell:
//!
//! | seen here | used by |
//! |---|---|
//! | RST_STREAM, h2's own 431, GOAWAY | `server::reject`: the counters and log lines of h2's refusals |
//! | a response that has begun and not ended | `server::h2`: a drain ends when nothing is left to send, not after `write_idle` |
//! | the number of these | `wire::client_memory`: the estimate of what h2 holds |
//!
//! `http::assumptions` fails if h2 words its own responses in another way.

use super::frames::{FrameHead, FramePart, FrameReader, kind};

/// Follows what is written to one connection.
#[derive(Default)]
pub(super) struct SentFrames {
    walk: FrameReader,
    /// The frame that is being written.
    head: FrameHead,
    /// The beginning of its payload, if that is of interest.
    said: Vec<u8>,
    /// Streams whose response has begun and not ended.
    begun: Vec<u32>,
    /// Streams that h2 has answered by itself, and may also reset.
    refused: Vec<u32>,
}

/// A frame to the client that the server counts or logs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::http) enum H2Event {
    /// Part of a response.
    Answer,
    /// h2 refused a request: its head is larger than h2 accepts.
    HeadTooLarge,
    /// A stream was refused, because the limit of streams is reached.
    TooManyStreams,
    /// A stream, or the connection, broke the protocol, in the named way.
    Wrong(ErrorScope, &'static str),
    /// The client is to connect again, because many of its requests are cancelled.
    ManyCancels,
    /// h2 ended the connection, because it causes too much work; the text is h2's reason.
    Flood(String),
}

/// What an error ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum ErrorScope {
    Stream,
    Connection,
}

/// Bytes of a payload that are kept. GOAWAY has eight bytes before its text, and the texts of h2 are
/// short.
const SAID: usize = 64;

/// How many streams that h2 has answered are remembered: as many as may be open at once.
const REFUSED: usize = 100;

/// RFC 9113 §7.
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

impl SentFrames {
    /// Follows the next bytes, and passes what they mean to `told`.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut told: impl FnMut(H2Event)) {
        while let Some(part) = self.walk.next(&mut bytes) {
            match part {
                FramePart::Head(head) => {
                    self.head = head;
                    self.said.clear();
                    self.begin().into_iter().for_each(&mut told);
                }
                FramePart::Payload(payload) => {
                    let room = SAID.saturating_sub(self.said.len());
                    if self.is_read() {
                        self.said.extend_from_slice(&payload[..payload.len().min(room)]);
                    }
                }
            }
            if self.walk.left() == 0 {
                self.end().into_iter().for_each(&mut told);
            }
        }
    }

    /// Forgets a stream that the client has reset.
    pub(super) fn forget(&mut self, stream: u32) {
        self.begun.retain(|begun| *begun != stream);
    }

    /// Returns how many responses have begun and not ended.
    pub(super) fn answering(&self) -> usize {
        self.begun.len()
    }

    /// Reports whether the payload is of interest.
    fn is_read(&self) -> bool {
        match self.head.kind {
            kind::RST_STREAM | kind::GOAWAY => true,
            // The head of a response without a body.
            kind::HEADERS => self.head.ends() && !self.begun.contains(&self.head.stream),
            _ => false,
        }
    }

    fn begin(&mut self) -> Option<H2Event> {
        let FrameHead { kind, stream, .. } = self.head;
        match kind {
            kind::DATA => Some(H2Event::Answer),
            kind::HEADERS => {
                if !self.head.ends() {
                    self.begun.push(stream);
                }
                Some(H2Event::Answer)
            }
            _ => None,
        }
    }

    fn end(&mut self) -> Option<H2Event> {
        let FrameHead { kind, stream, .. } = self.head;
        match kind {
            kind::HEADERS if self.is_read() && is_of_h2(&self.said) => {
                if self.refused.len() == REFUSED {
                    self.refused.remove(0);
                }
                self.refused.push(stream);
                Some(H2Event::HeadTooLarge)
            }
            kind::HEADERS | kind::DATA if self.head.ends() => {
                self.forget(stream);
                None
            }
            kind::RST_STREAM => {
                self.forget(stream);
                if let Some(at) = self.refused.iter().position(|refused| *refused == stream) {
                    // Reported already.
                    self.refused.swap_remove(at);
                    return None;
                }
                match number(&self.said, 0) {
                    Some(REFUSED_STREAM) => Some(H2Event::TooManyStreams),
                    code => code.and_then(wrong).map(|how| H2Event::Wrong(ErrorScope::Stream, how)),
                }
            }
            kind::GOAWAY => match number(&self.said, 4) {
                Some(ENHANCE_YOUR_CALM) => {
                    Some(H2Event::Flood(String::from_utf8_lossy(&self.said[8..]).into_owned()))
                }
                code => code.and_then(wrong).map(|how| H2Event::Wrong(ErrorScope::Connection, how)),
            },
            _ => None,
        }
    }
}

/// Reports whether the head of a response was made by h2: it holds only a status, outside the static table
/// of usual ones. The responses of hyper always have a date.
fn is_of_h2(block: &[u8]) -> bool {
    // RFC 7541 §6.1, §6.2.1: either an index into the dynamic table, or a literal to be added to it that
    // takes its name from index 8, `:status`.
    match block {
        [index] => *index > 0x80 | 61,
        [0x48, length, text @ ..] => usize::from(length & 0x7f) == text.len(),
        _ => false,
    }
}

/// Reads a 32-bit number.
fn number(payload: &[u8], at: usize) -> Option<u32> {
    let bytes = payload.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Names the error of a client that broke the protocol (RFC 9113 §7). The other codes say nothing about
/// the client.
fn wrong(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "PROTOCOL_ERROR",
        3 => "FLOW_CONTROL_ERROR",
        5 => "STREAM_CLOSED",
        6 => "FRAME_SIZE_ERROR",
        9 => "COMPRESSION_ERROR",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// Returns what is reported for frames that are written in pieces of this size.
    fn told(sent: &mut SentFrames, frames: &[Vec<u8>], piece: usize) -> Vec<H2Event> {
        let mut all = Vec::new();
        for bytes in frames.concat().chunks(piece) {
            sent.push(bytes, |told| all.extend(Some(told).filter(|told| *told != H2Event::Answer)));
        }
        all
    }

    #[test]
    fn what_h2_says_is_heard_in_whatever_pieces_it_is_written() {
        let flood = [&[0, 0, 0, 1, 0, 0, 0, 11], &b"too_many_resets"[..]].concat();
        let frames = [
            frame(4, 0, 0, &[0; 6]),
            frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 1]),
            frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]),
            frame(kind::RST_STREAM, 0, 5, &[0, 0, 0, 7]),
            frame(kind::GOAWAY, 0, 0, &[0; 8]),
            frame(kind::GOAWAY, 0, 0, &flood),
        ];
        for piece in 1..60 {
            assert_eq!(
                told(&mut SentFrames::default(), &frames, piece),
                [
                    H2Event::Wrong(ErrorScope::Stream, "PROTOCOL_ERROR"),
                    H2Event::TooManyStreams,
                    H2Event::Flood("too_many_resets".to_owned())
                ]
            );
        }
    }

    #[test]
    fn an_answer_is_on_its_way_until_its_last_frame_is() {
        let (begin, end) = (frame(kind::HEADERS, 4, 1, &[0x88]), frame(kind::DATA, 1, 1, b"x"));
        for last in [end, frame(kind::RST_STREAM, 0, 1, &[0; 4])] {
            let mut sent = SentFrames::default();

            sent.push(&begin, |_| {});
            assert_eq!(sent.answering(), 1);
            sent.push(&last, |_| {});

            assert_eq!(sent.answering(), 0);
        }
    }

    #[test]
    fn an_answer_of_h2_is_a_status_and_no_trailer() {
        let learnt = frame(kind::HEADERS, 5, 1, &[0x48, 0x83, 1, 2, 3]);
        let known = frame(kind::HEADERS, 5, 3, &[0xbe]);
        let reset = frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 1]);
        let ours = frame(kind::HEADERS, 5, 5, &[0x89, 0xbe]);
        let with_a_trailer = [frame(kind::HEADERS, 4, 7, &[0x88, 0xbe]), frame(kind::HEADERS, 5, 7, &[0xbe])];

        let frames = [vec![learnt, known, reset, ours], with_a_trailer.to_vec()].concat();

        assert_eq!(
            told(&mut SentFrames::default(), &frames, 7),
            [H2Event::HeadTooLarge, H2Event::HeadTooLarge]
        );
    }
}
