//! An HTTP/2 connection that repeats a request, several at a time; implements only that part of RFC 9113.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::exchange::{Exchange, HOST};
use super::wire::{PREFACE, block, flag, frame, kind};

/// RFC 9113 §4.1: length, kind, flags, stream.
const HEADER: usize = 9;

/// The position of the stream in a frame's header.
const STREAM: std::ops::Range<usize> = 5..HEADER;

/// RFC 9113 §6.9.2: the initial window of a connection. It is refilled when half is used.
const WINDOW: usize = 65_535;
const LOW: usize = WINDOW / 2;

/// The state of the connection.
pub(super) struct Session {
    /// The frame of a request, without its stream.
    request: Vec<u8>,
    wants: Vec<u8>,
    at_once: usize,
    next: u32,
    under_way: Vec<Stream>,
    /// How many bytes of the connection's window are used.
    used: usize,
}

/// A request without a complete response.
struct Stream {
    id: u32,
    began: Instant,
    /// How many bytes of the body have arrived.
    come: usize,
}

/// A piece of a body.
struct Data<'a> {
    stream: u32,
    flags: u8,
    payload: &'a [u8],
}

impl Session {
    /// Makes a session without sending anything.
    ///
    /// # Errors
    /// The exchange is too large: windows of streams are not managed here.
    pub(super) fn new(exchange: &Exchange, at_once: usize, secure: bool) -> Result<Session> {
        let Exchange { method, path, fields, sends, is_chunked, wants, any_body } = exchange;
        let is_plain = sends.is_empty() && !is_chunked && fields.is_empty() && !any_body;
        ensure!(is_plain && wants.len() <= WINDOW, "HTTP/2 is measured with small requests alone");
        let scheme = if secure { "https" } else { "http" };
        let fields =
            [(":method", *method), (":scheme", scheme), (":path", path.as_str()), (":authority", HOST)];
        let request = frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 0, &block(&fields));
        Ok(Session { request, wants: wants.clone(), at_once, next: 1, under_way: Vec::new(), used: 0 })
    }

    /// Sends the first requests.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        // A header table of size 0: the server then sends every field literally, and a status of 200 in one byte.
        const SETTINGS_HEADER_TABLE_SIZE: [u8; 6] = [0, 1, 0, 0, 0, 0];
        out.extend(PREFACE);
        out.extend(frame(kind::SETTINGS, 0, 0, &SETTINGS_HEADER_TABLE_SIZE));
        for _ in 0..self.at_once {
            self.ask(out);
        }
    }

    /// Takes the complete frames, and sends a request for each response. Returns how many bytes were taken.
    pub(super) fn take(
        &mut self,
        received: &[u8],
        out: &mut Vec<u8>,
        latencies: &mut Vec<Duration>,
    ) -> Result<usize> {
        let mut rest = received;
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER>() {
            let [a, b, c, kind, flags, stream @ ..] = *header;
            let stream = u32::from_be_bytes(stream);
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some((payload, behind)) = behind.split_at_checked(length) else { break };
            rest = behind;
            match kind {
                kind::DATA => self.data(&Data { stream, flags, payload }, out, latencies)?,
                kind::HEADERS => head(flags, payload)?,
                kind::SETTINGS if flags & flag::ACK == 0 => out.extend(frame(kind, flag::ACK, 0, &[])),
                kind::PING if flags & flag::ACK == 0 => out.extend(frame(kind, flag::ACK, 0, payload)),
                kind::RST_STREAM | kind::GOAWAY => bail!("the server gave up: {}", payload.escape_ascii()),
                _ => {}
            }
        }
        Ok(received.len() - rest.len())
    }

    fn ask(&mut self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend(&self.request);
        out[at..][STREAM].copy_from_slice(&self.next.to_be_bytes());
        self.under_way.push(Stream { id: self.next, began: Instant::now(), come: 0 });
        self.next += 2;
    }

    /// Compares a part of a body with the expected one. After the last part, sends the next request.
    fn data(&mut self, frame: &Data<'_>, out: &mut Vec<u8>, latencies: &mut Vec<Duration>) -> Result<()> {
        let place = self.under_way.iter().position(|stream| stream.id == frame.stream);
        let place = place.context("DATA of a stream that is not open")?;
        let stream = &mut self.under_way[place];
        let wanted = self.wants.get(stream.come..stream.come + frame.payload.len());
        ensure!(wanted == Some(frame.payload), "wanted another body: {}", frame.payload.escape_ascii());
        stream.come += frame.payload.len();
        self.used += frame.payload.len();
        if frame.flags & flag::END_STREAM != 0 {
            ensure!(stream.come == self.wants.len(), "the body ends after {} bytes", stream.come);
            latencies.push(stream.began.elapsed());
            self.under_way.swap_remove(place);
            self.ask(out);
        }
        if self.used > LOW {
            let used = u32::try_from(self.used).context("a window larger than there is")?;
            out.extend(self::frame(kind::WINDOW_UPDATE, 0, 0, &used.to_be_bytes()));
            self.used = 0;
        }
        Ok(())
    }
}

/// Expects a status of 200, followed by a body.
fn head(flags: u8, payload: &[u8]) -> Result<()> {
    /// RFC 7541 §6.1: the eighth entry of the static table, `:status: 200`.
    const STATUS_200: u8 = 0x88;
    ensure!(flags & !flag::END_HEADERS == 0, "a head with flags {flags}: padded, or without a body");
    // RFC 7541 §6.3: updates of the table's size may precede it.
    let first = payload.iter().find(|byte| *byte & 0xe0 != 0x20);
    ensure!(first == Some(&STATUS_200), "wanted status 200: {}", payload.escape_ascii());
    Ok(())
}
