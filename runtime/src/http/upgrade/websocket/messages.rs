//! Converts WebSocket messages to and from a job's stdin and stdout, as lines or as frames.
//!
//! A frame is one byte of type, four bytes of length (most significant first), and the payload. Types
//! are the opcodes of RFC 6455 §5.2: 1 text, 2 binary. A job may also write 8, close. The payload of a
//! close is a code of two bytes and a reason (§5.5.1).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::catalog::{Messages, WebSocket};
use crate::job::Fault;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// The size of a frame's type and length, in bytes.
const HEAD: usize = 5;

/// The longest reason of a close, in bytes (RFC 6455 §5.5).
const REASON: usize = 123;

/// Why a message cannot be passed to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MessageError {
    /// The message is binary, and lines are text.
    Binary,
    /// The message contains a line feed, which would end the line.
    SeveralLines,
}

/// Decodes messages from what a job writes.
pub(super) struct Decoder {
    messages: Messages,
    max: usize,
    written: BytesMut,
    /// How many bytes of the incomplete line were searched for a line feed.
    searched: usize,
}

/// Encodes a message for a job. Returns `None` for a message that is neither text nor binary.
///
/// # Errors
/// The message does not fit on a line.
pub(super) fn encode(messages: Messages, message: Message) -> Result<Option<Bytes>, MessageError> {
    let (kind, payload) = match message {
        Message::Text(text) => (TEXT, Bytes::from(text)),
        Message::Binary(bytes) => (BINARY, bytes),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return Ok(None),
    };
    let mut encoded = BytesMut::with_capacity(HEAD + payload.len());
    match (messages, kind) {
        (Messages::Lines, BINARY) => return Err(MessageError::Binary),
        (Messages::Lines, _) => {
            let line = without_line_end(&payload);
            if memchr::memchr(b'\n', line).is_some() {
                return Err(MessageError::SeveralLines);
            }
            encoded.put_slice(line);
            encoded.put_u8(b'\n');
        }
        (Messages::Frames, kind) => {
            encoded.put_u8(kind);
            // `message_size` is far below 4 GiB, so the length always fits.
            encoded.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
            encoded.put_slice(&payload);
        }
    }
    Ok(Some(encoded.freeze()))
}

impl Decoder {
    pub(super) fn new(websocket: &WebSocket) -> Decoder {
        let WebSocket { messages, message_size, .. } = *websocket;
        Decoder { messages, max: message_size, written: BytesMut::new(), searched: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.written.extend_from_slice(bytes);
    }

    /// Decodes the next complete message. Returns `None` if more must be written first.
    ///
    /// # Errors
    /// [`Fault::BadAnswer`]: the output is not a valid message, or the message is too large.
    pub(super) fn next(&mut self) -> Result<Option<Message>, Fault> {
        match self.messages {
            Messages::Lines => self.line(),
            Messages::Frames => self.frame(),
        }
    }

    /// Decodes what is left after the job has ended: a last line without its line feed.
    ///
    /// # Errors
    /// As [`Decoder::next`], and an incomplete frame.
    pub(super) fn finish(&mut self) -> Result<Option<Message>, Fault> {
        let rest = std::mem::take(&mut self.written);
        self.searched = 0;
        match self.messages {
            _ if rest.is_empty() => Ok(None),
            Messages::Lines => text(rest.freeze()).map(Some),
            Messages::Frames => Err(bad("the last frame on stdout is cut off".to_owned())),
        }
    }

    fn line(&mut self) -> Result<Option<Message>, Fault> {
        let Some(end) = memchr::memchr(b'\n', &self.written[self.searched..]) else {
            self.searched = self.written.len();
            // A final CR may turn out to be part of the line end.
            self.check(self.searched.saturating_sub(1))?;
            return Ok(None);
        };
        let mut line = self.written.split_to(self.searched + end + 1);
        self.searched = 0;
        line.truncate(without_line_end(&line).len());
        self.check(line.len())?;
        text(line.freeze()).map(Some)
    }

    fn frame(&mut self) -> Result<Option<Message>, Fault> {
        let Some((head, rest)) = self.written.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [kind, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        self.check(length)?;
        if rest.len() < length {
            return Ok(None);
        }
        self.written.advance(HEAD);
        let payload = self.written.split_to(length).freeze();
        match kind {
            TEXT => text(payload).map(Some),
            BINARY => Ok(Some(Message::Binary(payload))),
            CLOSE => close(payload).map(Some),
            other => Err(bad(format!("a frame of type {other} on stdout: 1 is text, 2 binary, 8 close"))),
        }
    }

    fn check(&self, length: usize) -> Result<(), Fault> {
        if length <= self.max {
            return Ok(());
        }
        Err(bad(format!("a message of more than {} bytes (websocket.message_size)", self.max)))
    }
}

fn text(payload: Bytes) -> Result<Message, Fault> {
    let text = payload.try_into().map_err(|_| bad("a text message that is not UTF-8".to_owned()))?;
    Ok(Message::Text(text))
}

fn close(mut payload: Bytes) -> Result<Message, Fault> {
    if payload.is_empty() {
        return Ok(Message::Close(None));
    }
    let code = payload.try_get_u16().map_err(|_| bad("a close frame of one byte".to_owned()))?;
    // RFC 6455 §7.4: applications may use these codes. 1000 means a normal end.
    if !matches!(code, 1000 | 1001 | 1008 | 1011 | 3000..=4999) || payload.len() > REASON {
        return Err(bad(format!("a close of code {code} and {} bytes of reason", payload.len())));
    }
    let reason = payload.try_into().map_err(|_| bad("a reason that is not UTF-8".to_owned()))?;
    Ok(Message::Close(Some(CloseFrame { code: code.into(), reason })))
}

fn bad(what: String) -> Fault {
    Fault::BadAnswer(what)
}

/// Removes the line end, if there is one.
fn without_line_end(line: &[u8]) -> &[u8] {
    let Some(line) = line.strip_suffix(b"\n") else { return line };
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Origins;
    use proptest::prelude::*;

    fn decoder(messages: Messages) -> Decoder {
        Decoder::new(&WebSocket {
            messages,
            message_size: 8,
            protocols: Vec::new(),
            origins: Origins::OfCors,
            ping: None,
            idle: None,
        })
    }

    fn all(decoder: &mut Decoder, written: &[u8]) -> Vec<Message> {
        decoder.push(written);
        std::iter::from_fn(|| decoder.next().unwrap()).collect()
    }

    #[test]
    fn lines_are_messages_wherever_they_are_cut() {
        let mut decoder = decoder(Messages::Lines);

        assert_eq!(all(&mut decoder, b"one\n\ntw"), [Message::text("one"), Message::text("")]);
        assert_eq!(all(&mut decoder, b"o\r"), []);
        assert_eq!(all(&mut decoder, b"\n12345678\r"), [Message::text("two")]);
        assert_eq!(all(&mut decoder, b"\nrest"), [Message::text("12345678")]);
        assert_eq!(decoder.finish().unwrap(), Some(Message::text("rest")));
        assert_eq!(decoder.finish().unwrap(), None);
    }

    #[test]
    fn what_is_no_message_is_a_fault() {
        for (messages, written) in [
            (Messages::Lines, &b"123456789\n"[..]),
            (Messages::Lines, b"1234567890"),
            (Messages::Lines, b"\xff\n"),
            (Messages::Frames, b"\x01\0\0\0\x09"),
            (Messages::Frames, b"\x01\0\0\0\x01\xff"),
            (Messages::Frames, b"\x03\0\0\0\0"),
            (Messages::Frames, b"\x08\0\0\0\x01x"),
            (Messages::Frames, b"\x08\0\0\0\x02\x03\xee"),
        ] {
            let mut decoder = decoder(messages);
            decoder.push(written);

            assert!(matches!(decoder.next(), Err(Fault::BadAnswer(_))), "{written:?}");
        }
        let mut cut = decoder(Messages::Frames);
        assert_eq!(all(&mut cut, b"\x02\0\0\0\x02x"), []);
        assert!(cut.finish().is_err());
    }

    #[test]
    fn a_job_may_say_how_it_closes() {
        let mut decoder = decoder(Messages::Frames);

        let messages = all(&mut decoder, b"\x08\0\0\0\0\x08\0\0\0\x05\x0f\xa0bye");

        let [Message::Close(None), Message::Close(Some(frame))] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4000, "bye"));
    }

    #[test]
    fn a_message_that_is_no_line_is_refused() {
        let line = |message| encode(Messages::Lines, message);

        assert_eq!(line(Message::text("one\r\n")), Ok(Some(Bytes::from_static(b"one\n"))));
        assert_eq!(line(Message::text("one\ntwo")), Err(MessageError::SeveralLines));
        assert_eq!(line(Message::binary(&b"one"[..])), Err(MessageError::Binary));
        assert_eq!(line(Message::Ping(Bytes::new())), Ok(None));
    }

    proptest! {
        #[test]
        fn a_frame_survives_the_way_there_and_back(payload in prop::collection::vec(any::<u8>(), 0..=8), cut in 0usize..13) {
            let message = match String::from_utf8(payload.clone()) {
                Ok(text) => Message::text(text),
                Err(_) => Message::binary(payload),
            };
            let encoded = encode(Messages::Frames, message.clone()).unwrap().unwrap();
            let mut decoder = decoder(Messages::Frames);
            let (first, second) = encoded.split_at(cut.min(encoded.len()));

            let mut decoded = all(&mut decoder, first);
            decoded.extend(all(&mut decoder, second));

            prop_assert_eq!(decoded, [message]);
        }
    }
}
