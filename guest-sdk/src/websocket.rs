//! WebSocket messages, for jobs on a route with `upgrade = "websocket"`.

use std::fmt;
use std::io::{self, BufRead, Read as _, Write};

use crate::stdout::Stdout;

/// The types of frames, which are the opcodes of RFC 6455 §5.2.
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes. Requires `websocket.messages = "frames"` in the route.
    Binary(Vec<u8>),
}

/// An open WebSocket: messages in, messages out.
///
/// ```no_run
/// use portcullis_guest::websocket::{Message, WebSocket};
///
/// fn main() -> std::io::Result<()> {
///     let mut socket = WebSocket::of_this_process();
///     while let Some(message) = socket.receive()? {
///         if let Message::Text(text) = message {
///             socket.send(text.to_uppercase())?;
///         }
///     }
///     Ok(())
/// }
/// ```
///
/// When the program returns, the WebSocket closes with code 1000; when it fails, with 1011.
pub struct WebSocket<'a> {
    from: Box<dyn BufRead + 'a>,
    to: Box<dyn Write + 'a>,
    shape: Shape,
}

/// The format of messages in the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `websocket.messages = "lines"`: a line of text is a message.
    Lines,
    /// `websocket.messages = "frames"`: one byte for the type, four for the length, then the
    /// message.
    Frames,
}

impl WebSocket<'static> {
    /// Opens the WebSocket of this process.
    pub fn of_this_process() -> WebSocket<'static> {
        let frames = std::env::var_os("WEBSOCKET_MESSAGES").is_some_and(|shape| shape == "frames");
        let shape = if frames { Shape::Frames } else { Shape::Lines };
        WebSocket::over(io::stdin().lock(), Stdout::new(), shape)
    }

    /// Returns the subprotocol that the daemon negotiated with the client.
    pub fn protocol() -> Option<String> {
        std::env::var("WEBSOCKET_PROTOCOL").ok().filter(|protocol| !protocol.is_empty())
    }
}

impl<'a> WebSocket<'a> {
    /// Makes a WebSocket from any streams: for tests.
    pub fn over(from: impl BufRead + 'a, to: impl Write + 'a, shape: Shape) -> WebSocket<'a> {
        WebSocket { from: Box::new(from), to: Box::new(to), shape }
    }

    /// Waits for the next message. Returns `None` when the client has closed or the daemon shuts
    /// down.
    ///
    /// # Errors
    /// The input broke off, or is not a valid message.
    pub fn receive(&mut self) -> io::Result<Option<Message>> {
        match self.shape {
            Shape::Lines => {
                let mut line = String::new();
                let read = self.from.read_line(&mut line)?;
                line.truncate(line.trim_end_matches('\n').len());
                Ok((read > 0).then_some(Message::Text(line)))
            }
            Shape::Frames => self.receive_frame(),
        }
    }

    fn receive_frame(&mut self) -> io::Result<Option<Message>> {
        if self.from.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut head = [0; 5];
        self.from.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u64::from(u32::from_be_bytes(length));
        let mut payload = Vec::new();
        let read = (&mut self.from).take(length).read_to_end(&mut payload)?;
        if read as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match kind {
            TEXT => String::from_utf8(payload).map(|text| Some(Message::Text(text))).map_err(invalid),
            BINARY => Ok(Some(Message::Binary(payload))),
            other => Err(invalid(format!("a frame of type {other}"))),
        }
    }

    /// Sends a message at once. Blocks while the client is slower.
    ///
    /// # Errors
    /// The client has gone, or the message does not fit in a line although the route requires lines.
    pub fn send(&mut self, message: impl Into<Message>) -> io::Result<()> {
        match (self.shape, message.into()) {
            (Shape::Lines, Message::Text(text)) if !text.contains('\n') => {
                self.write(format!("{text}\n").as_bytes())
            }
            (Shape::Lines, Message::Text(_)) => {
                Err(invalid("a text of several lines, where a line is a message"))
            }
            (Shape::Lines, Message::Binary(_)) => {
                Err(invalid("a binary message: the route needs websocket.messages = \"frames\""))
            }
            (Shape::Frames, Message::Text(text)) => self.frame(TEXT, text.as_bytes()),
            (Shape::Frames, Message::Binary(bytes)) => self.frame(BINARY, &bytes),
        }
    }

    /// Closes with a code (1000, or 3000 to 4999) and a reason of at most 123 bytes.
    ///
    /// # Errors
    /// The route uses lines, which cannot carry a code: end the program instead.
    pub fn close(mut self, code: u16, reason: &str) -> io::Result<()> {
        match self.shape {
            Shape::Lines => Err(invalid("a code: the route needs websocket.messages = \"frames\"")),
            Shape::Frames => self.frame(CLOSE, &[&code.to_be_bytes()[..], reason.as_bytes()].concat()),
        }
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(invalid)?;
        let mut frame = Vec::with_capacity(5 + payload.len());
        frame.push(kind);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(payload);
        self.write(&frame)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.to.flush()
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::Text(text)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Message {
        Message::Binary(bytes)
    }
}

impl fmt::Debug for WebSocket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("shape", &self.shape).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converse(socket: &mut WebSocket<'_>) -> io::Result<()> {
        while let Some(message) = socket.receive()? {
            socket.send(message)?;
        }
        Ok(())
    }

    fn echo(shape: Shape, sent: &[u8]) -> (Vec<u8>, io::Result<()>) {
        let mut out = Vec::new();
        let outcome = converse(&mut WebSocket::over(sent, &mut out, shape));
        (out, outcome)
    }

    #[test]
    fn what_is_received_can_be_sent_back() {
        for (shape, sent) in [
            (Shape::Lines, &b"one\n\ntwo\n"[..]),
            (Shape::Frames, b"\x01\0\0\0\x03one\x02\0\0\0\x02\xff\x00\x01\0\0\0\0"),
        ] {
            let (out, outcome) = echo(shape, sent);

            assert!(outcome.is_ok());
            assert_eq!(out, sent);
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for sent in [&b"\x01\0\0\0\x03on"[..], b"\x01\0", b"\x03\0\0\0\0", b"\x01\0\0\0\x01\xff"] {
            assert!(echo(Shape::Frames, sent).1.is_err(), "{sent:?}");
        }
        let mut lines = WebSocket::over(&b""[..], io::sink(), Shape::Lines);
        assert!(lines.send("two\nlines").is_err());
        assert!(lines.send(vec![0]).is_err());
        assert!(lines.close(1000, "").is_err());
    }

    #[test]
    fn a_close_says_its_code_and_reason() {
        let mut out = Vec::new();

        WebSocket::over(&b""[..], &mut out, Shape::Frames).close(4001, "bye").unwrap();

        assert_eq!(out, b"\x08\0\0\0\x05\x0f\xa1bye");
    }
}
