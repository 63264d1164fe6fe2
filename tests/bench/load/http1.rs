//! An HTTP/1.1 connection that repeats a request, one at a time.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::exchange::{Exchange, HOST};
use super::response;

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
        let Exchange { method, path, fields, sends, wants, any_body } = exchange;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}");
        if !sends.is_empty() {
            head += &format!("Content-Length: {}\r\n", sends.len());
        }
        let request = [head.as_bytes(), b"\r\n", sends].concat();
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
