//! Counts the frames of an HTTP/2 client before hyper reads them.
//!
//! h2 bounds what a client can make us remember, and some of the work it can cause. But h2 answers SETTINGS and
//! PING without limit, takes any number of PRIORITY, and reports to us no heads that it refuses by itself.
//! Frames that cause work without asking for a response are counted here, and allowed at the pace of a normal
//! client.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::frames::{FrameHead, FramePart, FrameReader, kind};

/// Counts the frames of one connection.
pub(super) struct ReceivedFrames {
    /// Bytes of the preface that are still to come.
    preface: usize,
    walk: FrameReader,
    /// The highest stream that was opened, as its number.
    newest: u32,
    opened: u64,
    /// Bytes of the field section that is not complete.
    fields: usize,
    /// How many field sections have begun.
    sections: u64,
    /// The newest frame, if it is part of a field section.
    section: Option<FrameHead>,
    /// How many streams became a request.
    requests: Arc<AtomicU64>,
    /// WINDOW_UPDATE frames that were not earned yet.
    windows: u64,
    /// Other frames that ask for no response.
    idle: IdleCounter,
    /// Requests that were cancelled within [`FLOOD_WINDOW`].
    cancelled: IdleCounter,
    /// Requests that were cancelled on this connection.
    resets: u64,
    /// Whether the cancels exceeded the limit once. The connection then gets no more streams.
    is_full: bool,
}

/// Counts messages that cause work and ask for no response, over HTTP/2 or a WebSocket.
pub(in crate::http) struct IdleCounter {
    /// How many there were since the count was last reset.
    count: u32,
    since: Instant,
}

/// The kind of flood that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Flood {
    /// Frames that serve no purpose.
    Idle,
    /// Streams that become no request.
    Lost,
}

/// Useless frames that are accepted in [`FLOOD_WINDOW`]. A browser that closes a page resets a hundred streams; a
/// client that measures the connection sends a PING for some hundred KiB.
const MOST: u32 = 1000;
const FLOOD_WINDOW: Duration = Duration::from_secs(10);

/// Cancels that are accepted in [`FLOOD_WINDOW`] after the first excess, for the requests still in progress.
const STILL: u32 = 100;

/// Streams that may be open without a request: those about to become one, and some invalid ones.
const LOST: u64 = 256;

/// WINDOW_UPDATE frames that one request earns, and the bytes we send that earn one more. A client may confirm
/// the smallest pieces one by one, for the stream and for the connection.
const WINDOWS_A_REQUEST: u64 = 4;
const BYTES_A_WINDOW: u64 = 8;

impl ReceivedFrames {
    /// Starts before the preface. `requests` counts the accepted requests of the connection.
    pub(super) fn new(preface: usize, requests: Arc<AtomicU64>) -> ReceivedFrames {
        ReceivedFrames {
            preface,
            walk: FrameReader::default(),
            newest: 0,
            opened: 0,
            fields: 0,
            sections: 0,
            section: None,
            requests,
            windows: 0,
            idle: IdleCounter::new(),
            cancelled: IdleCounter::new(),
            resets: 0,
            is_full: false,
        }
    }

    /// Returns the newest stream that the client opened, 0 before the first.
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    /// Reports whether the connection should take no new streams and let the others finish. The users of a
    /// proxy share the connection, and some of them cancelled many requests.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Returns how many bytes of an incomplete field section are here.
    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// Returns the number of the field section that has begun and not ended, counted from 1. No other frame may come
    /// before its end (RFC 9113 §4.3).
    pub(super) fn open_section(&self) -> Option<u64> {
        let is_open = |frame: &FrameHead| !frame.ends_fields() || self.walk.left() > 0;
        self.section.as_ref().filter(|frame| is_open(frame)).map(|_| self.sections)
    }

    /// Notes that this many bytes were sent to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.windows = self.windows.saturating_sub(bytes as u64 / BYTES_A_WINDOW);
    }

    /// Counts the frames in the next bytes, and passes the streams they reset to `reset`.
    ///
    /// # Errors
    /// They exceed a limit.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut reset: impl FnMut(u32)) -> Result<(), Flood> {
        // h2 has processed all the earlier bytes, and dropped what was cancelled by then.
        if self.opened > self.requests.load(Ordering::Relaxed) + self.resets + LOST {
            return Err(Flood::Lost);
        }
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        bytes = &bytes[skipped..];
        while let Some(part) = self.walk.next(&mut bytes) {
            if let FramePart::Head(head) = part {
                if head.kind == kind::RST_STREAM {
                    reset(head.stream);
                }
                self.count(head)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, head: FrameHead) -> Result<(), Flood> {
        if let kind::HEADERS | kind::CONTINUATION = head.kind {
            self.fields = if head.ends_fields() { 0 } else { self.fields + head.length };
        }
        self.sections += u64::from(head.kind == kind::HEADERS);
        self.section = Some(head).filter(|head| matches!(head.kind, kind::HEADERS | kind::CONTINUATION));
        match head.kind {
            kind::DATA if head.length > 0 || head.ends() => Ok(()),
            // Later HEADERS of the same stream are trailers.
            kind::HEADERS if head.stream > self.newest => {
                self.newest = head.stream;
                self.opened += 1;
                self.windows = self.windows.saturating_sub(WINDOWS_A_REQUEST);
                Ok(())
            }
            kind::WINDOW_UPDATE if self.windows < u64::from(MOST) => {
                self.windows += 1;
                Ok(())
            }
            kind::RST_STREAM => self.cancel(),
            _ => self.idle.spend(),
        }
    }

    /// Counts a cancel. At the first excess, the other requests may still finish.
    fn cancel(&mut self) -> Result<(), Flood> {
        self.resets += 1;
        match self.cancelled.spend() {
            Err(_) if !self.is_full => {
                self.is_full = true;
                self.cancelled = IdleCounter { count: MOST - STILL, since: Instant::now() };
                Ok(())
            }
            spent => spent,
        }
    }
}

impl IdleCounter {
    pub(in crate::http) fn new() -> IdleCounter {
        IdleCounter { count: 0, since: Instant::now() }
    }

    /// Counts one message.
    ///
    /// # Errors
    /// There were too many.
    pub(in crate::http) fn spend(&mut self) -> Result<(), Flood> {
        self.count += 1;
        if self.count <= MOST {
            return Ok(());
        }
        if self.since.elapsed() < FLOOD_WINDOW {
            return Err(Flood::Idle);
        }
        (self.count, self.since) = (1, Instant::now());
        Ok(())
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flood::Idle => "frames that carry nothing of a request",
            Flood::Lost => "streams that end before their request is complete",
        })
    }
}

impl std::error::Error for Flood {}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn frames() -> ReceivedFrames {
        let mut frames = ReceivedFrames::new(PREFACE.len(), Arc::default());
        frames.push(PREFACE, |_| {}).unwrap();
        frames
    }

    fn push(frames: &mut ReceivedFrames, bytes: &[u8]) -> Result<(), Flood> {
        frames.push(bytes, |_| {})
    }

    #[test]
    fn pings_are_taken_up_to_the_limit_in_whatever_pieces_they_come() {
        let ping = frame(6, 0, 0, &[0; 8]);
        for piece in [1, 5, 9, 17, 1000] {
            let mut frames = frames();
            let all = ping.repeat(1000);

            for bytes in all.chunks(piece) {
                assert_eq!(push(&mut frames, bytes), Ok(()));
            }

            assert_eq!(push(&mut frames, &ping), Err(Flood::Idle));
        }
    }

    #[test]
    fn a_field_section_is_open_from_its_first_frame_to_the_last_byte_of_its_last() {
        let mut frames = frames();
        let mut open_after = |bytes: &[u8]| {
            push(&mut frames, bytes).unwrap();
            frames.open_section()
        };
        let (begin, whole, end) = (frame(1, 0, 1, b"x"), frame(1, 4, 3, b"xy"), frame(9, 4, 1, b"yz"));

        assert_eq!(open_after(b""), None);
        assert_eq!(open_after(&begin), Some(1));
        assert_eq!(open_after(&frame(9, 0, 1, b"")), Some(1));
        assert_eq!(open_after(&end[..10]), Some(1));
        assert_eq!(open_after(&end[10..]), None);
        assert_eq!(open_after(&whole[..9]), Some(2));
        assert_eq!(open_after(&[&whole[9..], &begin[..]].concat()), Some(3));
        assert_eq!(open_after(&end), None);
        assert_eq!(open_after(&frame(0, 0, 1, b"body")[..10]), None);
    }

    #[test]
    fn what_carries_a_body_is_never_a_flood() {
        let mut frames = frames();
        for _ in 0..5000 {
            assert_eq!(push(&mut frames, &frame(0, 0, 1, b"x")), Ok(()));
        }

        let empty = frame(0, 0, 1, b"").repeat(1001);
        assert_eq!(push(&mut frames, &empty), Err(Flood::Idle));
    }

    #[test]
    fn a_thousand_cancels_end_no_request_and_many_more_do() {
        let mut frames = frames();
        let cancel = frame(3, 0, 1, &[0, 0, 0, 8]);

        assert_eq!((push(&mut frames, &cancel.repeat(1000)), frames.is_full()), (Ok(()), false));
        assert_eq!((push(&mut frames, &cancel), frames.is_full()), (Ok(()), true));
        assert_eq!(push(&mut frames, &cancel.repeat(100)), Ok(()));
        assert_eq!(push(&mut frames, &cancel), Err(Flood::Idle));
    }

    #[test]
    fn windows_are_earned_by_what_is_sent() {
        let mut frames = frames();
        let window = frame(8, 0, 0, &[0, 0, 0, 1]);
        for _ in 0..5000 {
            frames.sent(16);
            assert_eq!(push(&mut frames, &window.repeat(2)), Ok(()));
        }

        // One allowance for windows, and one for all frames.
        assert_eq!(push(&mut frames, &window.repeat(1990)), Ok(()));
        assert_eq!(push(&mut frames, &window.repeat(20)), Err(Flood::Idle));
    }

    #[test]
    fn heads_that_become_no_request_are_bounded() {
        let mut frames = frames();
        for stream in 1..=127 {
            assert_eq!(push(&mut frames, &frame(1, 4, stream * 2 - 1, b"x")), Ok(()));
        }
        frames.opened += 200;

        assert_eq!(push(&mut frames, b""), Err(Flood::Lost));
        frames.requests.fetch_add(127, Ordering::Relaxed);
        assert_eq!(push(&mut frames, b""), Ok(()));
    }
}
