//! An HTTP/1.1 connection that repeats a request, one at a time.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::exchange::{Exchange, HOST};
use super::response;

/// The bytes of a chunk, as curl sends them.
const CHUNK: usize = 64 << 10;

/// The state of the connection.
pub(super) struct Session {
    request: Vec<u8>,
    /// `None` if any body will do.
    wants: Option<Vec<u8>>,
    /// Whether the connection ends after its first response.
    once: bool,
    began: Instant,
}

impl Session {
    /// Makes a session without sending anything. The time starts now, because the connection may have to be made.
    pub(super) fn new(exchange: &Exchange, once: bool) -> Session {
        let Exchange { method, path, fields, sends, is_chunked, wants, any_body } = exchange;
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}").into_bytes();
        if *is_chunked {
            request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in sends.chunks(CHUNK) {
                request.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                request.extend([chunk, b"\r\n"].concat());
            }
            request.extend(b"0\r\n\r\n");
        } else {
            if !sends.is_empty() {
                request.extend(format!("Content-Length: {}\r\n", sends.len()).as_bytes());
            }
            request.extend(b"\r\n");
            request.extend(sends);
        }
        let wants = (!any_body).then(|| wants.clone());
        Session { request, wants, once, began: Instant::now() }
    }

    /// Sends the first request.
    pub(super) fn begin(&self, out: &mut Vec<u8>) {
        out.extend(&self.request);
    }

    /// Takes a complete response and sends the next request. Returns how many bytes were taken.
    pub(super) fn take(
        &mut self,
        received: &[u8],
        out: &mut Vec<u8>,
        latencies: &mut Vec<Duration>,
    ) -> Result<usize> {
        if !response::is_whole(received, self.wants.as_deref())? {
            return Ok(0);
        }
        latencies.push(self.began.elapsed());
        if !self.once {
            self.began = Instant::now();
            out.extend(&self.request);
        }
        Ok(received.len())
    }
}
