//! Checks the head of another server's response more strictly than hyper does.
//!
//! hyper accepts some ambiguous heads. An intermediary may read such a head in another way, and the rest
//! on the connection is then taken for the response to the next call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::job::outbound::OutboundError;
use crate::net::outbound::Channel;

/// Checks a head that hyper has parsed.
///
/// # Errors
/// The end of the body is ambiguous, or the response does not match the request.
pub(super) fn check<B>(response: &Response<B>) -> Result<(), OutboundError> {
    let (status, fields) = (response.status(), response.headers());
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let lengths = fields.get_all(CONTENT_LENGTH).iter().count();
    let unsound = if status == StatusCode::SWITCHING_PROTOCOLS {
        // RFC 9110 §15.2.2: this requires an Upgrade in the request, and we send none.
        "a change of protocols that was not asked for"
    } else if status.as_u16() > 599 {
        // RFC 9110 §15.
        "a status above 599"
    } else if let Some(coding) = codings.next() {
        if lengths > 0 {
            // RFC 9112 §6.3.
            "Content-Length beside Transfer-Encoding"
        } else if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            // RFC 9112 §7: we send no TE, so no other coding is allowed.
            "a transfer coding other than chunked"
        } else {
            return Ok(());
        }
    } else if lengths > 1 {
        "more than one Content-Length"
    } else {
        return Ok(());
    };
    Err(doubtful(unsound))
}

/// Reports whether a response with a status that allows no body still announces one (RFC 9110 §8.6). The
/// response is valid, but the bytes after it may be that body.
pub(super) fn may_be_followed<B>(response: &Response<B>) -> bool {
    let fields = response.headers();
    response.status() == StatusCode::NO_CONTENT
        && (fields.contains_key(CONTENT_LENGTH) || fields.contains_key(TRANSFER_ENCODING))
}

fn doubtful(what: &str) -> OutboundError {
    OutboundError::Protocol(format!("the answer has {what}"))
}

/// A connection whose heads are checked before hyper parses them: afterwards, a bad line end can no
/// longer be seen.
pub(super) struct StrictHeadIo {
    channel: Channel,
    /// Whether the next bytes begin a head.
    due: HeadDue,
    /// `None` while a body is being read.
    head: Option<ResponseHead>,
}

/// A flag that is set when a request goes out: the next bytes received begin a head.
#[derive(Clone)]
pub(super) struct HeadDue(Arc<AtomicBool>);

/// The state of a head that is not complete yet.
#[derive(Default)]
struct ResponseHead {
    /// Length of the current line so far, in bytes.
    line: usize,
    last: u8,
    /// Whether the first line is complete.
    begun: bool,
    /// Whether the status is an interim one (1xx), so that another head follows.
    interim: bool,
    /// How many interim heads there were.
    interims: usize,
}

/// The most interim heads in front of a response. hyper reads them all in one go, so a server that never ends
/// them would keep a thread busy. Go accepts five; a server that reports its progress sends more.
const INTERIMS: usize = 32;

/// The position of the first status digit, after `HTTP/1.1 `.
const STATUS: usize = 9;

impl StrictHeadIo {
    pub(super) fn of(channel: Channel) -> (StrictHeadIo, HeadDue) {
        let due = HeadDue(Arc::new(AtomicBool::new(false)));
        (StrictHeadIo { channel, due: due.clone(), head: None }, due)
    }
}

impl HeadDue {
    pub(super) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl ResponseHead {
    /// Reads on. Returns `true` once the head is complete.
    fn push(&mut self, bytes: &[u8]) -> Result<bool, &'static str> {
        for &byte in bytes {
            match byte {
                // RFC 9112 §2.2: a lenient parser sees other lines here than a strict one.
                b'\n' if self.last != b'\r' => return Err("a line that ends without a CR"),
                b'\n' if self.line > 1 => (self.line, self.begun) = (0, true),
                b'\n' if !self.begun => return Err("an empty line in front of it"),
                b'\n' if self.interim && self.interims == INTERIMS => {
                    return Err("too many interim responses in front of it");
                }
                b'\n' if self.interim => {
                    *self = ResponseHead { interims: self.interims + 1, ..ResponseHead::default() };
                }
                b'\n' => return Ok(true),
                _ if self.last == b'\r' => return Err("a CR within a line"),
                b' ' | b'\t' if self.line == 0 => return Err("a line that begins with a space"),
                byte => {
                    if !self.begun && self.line == STATUS {
                        self.interim = byte == b'1';
                    }
                    self.line += 1;
                }
            }
            self.last = byte;
        }
        Ok(false)
    }
}

impl AsyncRead for StrictHeadIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.channel).poll_read(cx, buffer))?;
        if this.due.0.swap(false, Ordering::Relaxed) {
            this.head = Some(ResponseHead::default());
        }
        if let Some(head) = &mut this.head {
            match head.push(&buffer.filled()[before..]) {
                Ok(true) => this.head = None,
                Ok(false) => {}
                Err(what) => return Poll::Ready(Err(io::Error::other(doubtful(what)))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StrictHeadIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.channel).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.channel).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.channel.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&str, &str)]) -> Response<()> {
        let fields = fields.iter();
        let response =
            fields.fold(Response::builder(), |response, (name, value)| response.header(*name, *value));
        response.status(status).body(()).unwrap()
    }

    #[test]
    fn an_answer_that_may_be_read_in_two_ways_is_none() {
        const TE: &str = "transfer-encoding";
        const CL: &str = "content-length";
        for (status, fields, sound) in [
            (200, &[(CL, "2")][..], true),
            (200, &[(TE, "Chunked")], true),
            (599, &[], true),
            (600, &[], false),
            (999, &[], false),
            (101, &[], false),
            (200, &[(CL, "2"), (TE, "chunked")], false),
            (200, &[(CL, "2"), (CL, "2")], false),
            (200, &[(TE, "gzip, chunked")], false),
            (200, &[(TE, "chunked"), (TE, "chunked")], false),
        ] {
            assert_eq!(check(&response(status, fields)).is_ok(), sound, "{status} {fields:?}");
        }
        assert!(may_be_followed(&response(204, &[(CL, "2")])));
        assert!(!may_be_followed(&response(304, &[(CL, "2")])) && !may_be_followed(&response(204, &[])));
    }

    #[test]
    fn interim_responses_are_taken_up_to_their_limit() {
        let heads = |interims| {
            [b"HTTP/1.1 100 Continue\r\n\r\n".repeat(interims), b"HTTP/1.1 200 OK\r\n\r\n".to_vec()]
        };

        assert_eq!(ResponseHead::default().push(&heads(INTERIMS).concat()), Ok(true));
        assert!(ResponseHead::default().push(&heads(INTERIMS + 1).concat()).is_err());
    }

    #[test]
    fn lines_end_as_they_should_wherever_they_are_cut() {
        for (text, outcome) in [
            (&b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"[..], Some(true)),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n", Some(false)),
            (b"HTTP/1.1 100 Continue\r\n\r\n", Some(false)),
            (b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Some(true)),
            (b"HTTP/1.1 200 OK\n", None),
            (b"HTTP/1.1 200 OK\r\nA: b\n", None),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n\n", None),
            (b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n", None),
            (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n", None),
            (b"\r\nHTTP/1.1 200 OK\r\n\r\n", None),
        ] {
            for size in [1, 2, 3, 1000] {
                let mut head = ResponseHead::default();
                let mut pieces = text.chunks(size);
                let read = pieces.try_fold(false, |_, piece| head.push(piece)).ok();

                assert_eq!(read, outcome, "{size} {}", text.escape_ascii());
            }
        }
    }
}
