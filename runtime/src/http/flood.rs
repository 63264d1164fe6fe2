//! The frames that a client of HTTP/2 sends, counted before hyper reads them.
//!
//! h2 bounds what a client can make us remember, and some of what it can make us do; SETTINGS, PING and
//! PRIORITY it answers for ever, and heads that it refuses by itself nobody else hears of. Whatever asks
//! for work without asking for an answer is counted here, and is allowed at a client's pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts the frames of one connection.
pub(super) struct Frames {
    /// Bytes of the preface that are still to come.
    preface: usize,
    /// The head of a frame that did not arrive whole.
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    payload: usize,
    /// The highest stream that was opened.
    newest: u32,
    opened: u64,
    /// Those that became a request.
    requests: Arc<AtomicU64>,
    /// Frames about windows that were not earned yet.
    windows: u64,
    /// Other frames that ask for no answer.
    idle: Idle,
}

/// Counts what asks for work and for no answer, over HTTP/2 or a WebSocket.
pub(super) struct Idle {
    /// How many there were since the last reset of the count.
    count: u32,
    since: Instant,
}

/// A client that asks for work and for no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flood;

impl std::fmt::Display for Flood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a flood of frames that carry nothing")
    }
}

impl std::error::Error for Flood {}

/// Bytes of the head of a frame (RFC 9113 §4.1).
const HEAD: usize = 9;

/// Frames without a use that are taken in [`SPAN`]. A browser that closes a page resets a hundred
/// streams; a client that measures sends a PING for some hundred KiB.
const MOST: u32 = 1000;
const SPAN: Duration = Duration::from_secs(10);

/// Streams that may be opened and become no request: those that are about to, and some that are wrong.
const LOST: u64 = 256;

/// Frames about windows that come with a request, and for how many bytes of ours one more may come: the
/// smallest pieces are confirmed one by one, for the stream and for the connection.
const WINDOWS_A_REQUEST: u64 = 4;
const BYTES_A_WINDOW: u64 = 8;

impl Frames {
    /// Starts before the preface. `requests` is how many requests of the connection were taken.
    pub(super) fn new(preface: usize, requests: Arc<AtomicU64>) -> Frames {
        Frames {
            preface,
            head: [0; HEAD],
            have: 0,
            payload: 0,
            newest: 0,
            opened: 0,
            requests,
            windows: 0,
            idle: Idle::new(),
        }
    }

    /// Notes that this many bytes were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.windows = self.windows.saturating_sub(bytes as u64 / BYTES_A_WINDOW);
    }

    /// Counts the frames in the next bytes.
    ///
    /// # Errors
    /// They are too many.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        // All that was here before has been looked at by h2.
        if self.opened > self.requests.load(Ordering::Relaxed) + LOST {
            return Err(Flood);
        }
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self.payload.min(bytes.len());
                self.payload -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                self.have = 0;
                self.count()?;
            }
        }
        Ok(())
    }

    /// Counts the frame whose head is here.
    fn count(&mut self) -> Result<(), Flood> {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const WINDOW_UPDATE: u8 = 8;
        const END_STREAM: u8 = 1;
        let [high, middle, low, kind, flags, stream @ ..] = self.head;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        match kind {
            DATA if self.payload > 0 || flags & END_STREAM != 0 => Ok(()),
            // Others of the same stream are trailers.
            HEADERS if stream > self.newest => {
                self.newest = stream;
                self.opened += 1;
                self.windows = self.windows.saturating_sub(WINDOWS_A_REQUEST);
                Ok(())
            }
            WINDOW_UPDATE if self.windows < u64::from(MOST) => {
                self.windows += 1;
                Ok(())
            }
            _ => self.idle.spend(),
        }
    }
}

impl Idle {
    pub(super) fn new() -> Idle {
        Idle { count: 0, since: Instant::now() }
    }

    /// Counts one.
    ///
    /// # Errors
    /// They are too many.
    pub(super) fn spend(&mut self) -> Result<(), Flood> {
        self.count += 1;
        if self.count <= MOST {
            return Ok(());
        }
        if self.since.elapsed() < SPAN {
            return Err(Flood);
        }
        (self.count, self.since) = (1, Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn frames() -> Frames {
        let mut frames = Frames::new(PREFACE.len(), Arc::default());
        frames.push(PREFACE).unwrap();
        frames
    }

    #[test]
    fn pings_are_taken_up_to_the_limit_in_whatever_pieces_they_come() {
        let ping = frame(6, 0, 0, &[0; 8]);
        for piece in [1, 5, 9, 17, 1000] {
            let mut frames = frames();
            let all = ping.repeat(1000);

            for bytes in all.chunks(piece) {
                assert_eq!(frames.push(bytes), Ok(()));
            }

            assert_eq!(frames.push(&ping), Err(Flood));
        }
    }

    #[test]
    fn what_carries_a_body_is_never_a_flood() {
        let mut frames = frames();
        for _ in 0..5000 {
            assert_eq!(frames.push(&frame(0, 0, 1, b"x")), Ok(()));
        }

        let empty = frame(0, 0, 1, b"").repeat(1001);
        assert_eq!(frames.push(&empty), Err(Flood));
    }

    #[test]
    fn windows_are_earned_by_what_is_sent() {
        let mut frames = frames();
        let window = frame(8, 0, 0, &[0, 0, 0, 1]);
        for _ in 0..5000 {
            frames.sent(16);
            assert_eq!(frames.push(&window.repeat(2)), Ok(()));
        }

        // One allowance for windows, and the one for everything.
        assert_eq!(frames.push(&window.repeat(1990)), Ok(()));
        assert_eq!(frames.push(&window.repeat(20)), Err(Flood));
    }

    #[test]
    fn heads_that_become_no_request_are_bounded() {
        let mut frames = frames();
        for stream in 1..=127 {
            assert_eq!(frames.push(&frame(1, 4, stream * 2 - 1, b"x")), Ok(()));
        }
        frames.opened += 200;

        assert_eq!(frames.push(b""), Err(Flood));
        frames.requests.fetch_add(127, Ordering::Relaxed);
        assert_eq!(frames.push(b""), Ok(()));
    }
}
