//! A connection of HTTP/1.1: the same request again and again, one at a time.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::exchange::{Exchange, HOST};
use super::response;

/// Where the conversation is.
pub(super) struct Session {
    request: Vec<u8>,
    wants: Vec<u8>,
    /// Ends with its first answer.
    once: bool,
    began: Instant,
}

impl Session {
    /// Nothing is asked yet, but the time runs: a connection may have to be made.
    pub(super) fn new(exchange: &Exchange, once: bool) -> Session {
        let Exchange { method, path, sends, wants } = exchange;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n");
        if !sends.is_empty() {
            head += &format!("Content-Length: {}\r\n", sends.len());
        }
        let request = [head.as_bytes(), b"\r\n", sends].concat();
        Session { request, wants: wants.clone(), once, began: Instant::now() }
    }

    /// Asks for the first time.
    pub(super) fn begin(&self, out: &mut Vec<u8>) {
        out.extend(&self.request);
    }

    /// Takes a response, if it is whole, and asks again. Returns how many bytes were taken.
    pub(super) fn take(
        &mut self,
        received: &[u8],
        out: &mut Vec<u8>,
        latencies: &mut Vec<Duration>,
    ) -> Result<usize> {
        if !response::is_whole(received, &self.wants)? {
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
