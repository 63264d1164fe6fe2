//! The beginning of a request body, read before its job starts.
//!
//! A client that sends it byte by byte therefore holds no slot meanwhile.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;

use crate::http::timeouts::READ_AHEAD_PAUSE;
use crate::http::wire::client_memory::{MemoryAccount, MemoryCharge};
use crate::http::wire::lazy_timer::LazyTimer;
use crate::job::{Destination as _, PIPE_CAPACITY, PipeReader, PipeWriter, pipe};

/// The beginning of a body, up to what a pipe holds. While the connections hold more than half of the memory
/// that they may hold for their clients, a job starts with the part of its body that is here.
pub(in crate::http) struct ReadAhead {
    reader: PipeReader,
    writer: PipeWriter,
    length: u64,
    trailers: Option<Frame<Bytes>>,
    pause: Option<LazyTimer>,
    since: Instant,
    held: MemoryCharge,
}

impl ReadAhead {
    /// Begins with nothing.
    pub(in crate::http) fn begin(has_length: bool, memory: &MemoryAccount) -> ReadAhead {
        let (writer, reader) = pipe(PIPE_CAPACITY);
        let pause = (!has_length).then(LazyTimer::default);
        let since = Instant::now();
        ReadAhead { reader, writer, length: 0, trailers: None, pause, since, held: memory.charge(0) }
    }

    /// Adds a frame. Returns whether that is enough.
    pub(in crate::http) fn add(&mut self, frame: Frame<Bytes>) -> bool {
        self.since = Instant::now();
        match frame.into_data() {
            Ok(bytes) => {
                self.length += bytes.len() as u64;
                // Cannot fail, because the reader is held here.
                let _written = self.writer.write(&bytes);
                self.held.grow(bytes.len());
                self.length >= PIPE_CAPACITY as u64 || self.held.account().is_scarce()
            }
            Err(trailers) => {
                self.trailers = Some(trailers);
                true
            }
        }
    }

    /// Waits until nothing has come for so long that the client may itself be waiting.
    pub(in crate::http) fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let due = self.since + READ_AHEAD_PAUSE;
        self.pause.as_mut().map_or(Poll::Pending, |pause| pause.poll(due, context))
    }

    /// Takes the next piece. Returns `None` when nothing is left.
    pub(in crate::http) fn take(&mut self) -> Option<Frame<Bytes>> {
        let Some(bytes) = self.reader.take() else { return self.trailers.take() };
        self.length -= bytes.len() as u64;
        self.held.set(usize::try_from(self.length).unwrap_or(usize::MAX));
        Some(Frame::data(bytes))
    }

    /// Returns how many bytes are left.
    pub(in crate::http) fn length(&self) -> u64 {
        self.length
    }

    /// Reports whether nothing is left.
    pub(in crate::http) fn is_empty(&self) -> bool {
        self.length == 0 && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(length: usize) -> Frame<Bytes> {
        Frame::data(Bytes::from(vec![b'x'; length]))
    }

    #[test]
    fn a_body_is_gathered_up_to_what_a_pipe_holds_and_counted_until_it_is_read() {
        let mut gathered = ReadAhead::begin(true, &MemoryAccount::unlimited());

        assert!(!gathered.add(data(1)));
        assert!(!gathered.add(data(PIPE_CAPACITY - 2)));
        assert!(gathered.add(data(1)));

        assert_eq!(gathered.length(), PIPE_CAPACITY as u64);
        while !gathered.is_empty() {
            assert!(gathered.take().is_some());
        }
        assert!(gathered.take().is_none());
    }
}
