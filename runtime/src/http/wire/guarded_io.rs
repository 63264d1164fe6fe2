//! A stream whose every byte is checked before hyper reads it.
//!
//! Bytes that hyper would accept and we do not are never passed to it. Requests that came before them are
//! answered first. Then the refusal is written here, past hyper, and the connection ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::client_memory::{MemoryCharge, estimate};
use super::deadline_io::DeadlineIo;
use super::h1::head::HeadLimits;
use super::h1::quoted::QuotedQuery;
use super::h1::{Checked, H1Guard, MessagePart, Violation};
use super::h2::H2Guard;
use super::h2::sent::H2Event;
use super::peeked::Peeked;
use super::progress::Progress;
use super::read_deadline::ReadPhase;
use super::report::ConnectionReport;
use super::version::HttpVersion;
use crate::http::refusal::{Details, Refusal};

/// A stream under the checks of its version of HTTP.
pub(in crate::http) struct GuardedIo<S> {
    stream: DeadlineIo<S>,
    /// Reports refusals that hyper does not see, and words the answers.
    report: Arc<dyn ConnectionReport>,
    progress: Progress,
    inspector: Inspector,
    peeked: Peeked,
    /// Set after a request for an upgrade: nothing is read until its response is known.
    paused_for_upgrade: bool,
    /// Set when a forbidden byte was read.
    blocked: Option<Blocked>,
    /// Responses that are complete and flushed.
    answered: u64,
    /// Whether all written bytes are flushed.
    is_flushed: bool,
    /// What the connection holds for its client in bytes that are not read or not sent yet.
    held: MemoryCharge,
    /// Whether a write has waited for the client since the last flush.
    is_stuck: bool,
    /// Whether the next flush wakes hyper, so that it polls its read again.
    rewake_on_flush: bool,
    /// Whether the client was told to connect anew, because many of its requests are cancelled.
    is_told_to_go: bool,
}

/// The checks in force.
enum Inspector {
    /// No checks: the version is not known yet, or HTTP is over.
    Nobody,
    Requests(H1Guard),
    /// Boxed, so that HTTP/1 connections stay small.
    Frames(Box<H2Guard>),
}

/// Why nothing is read any more.
enum Blocked {
    /// A request body is invalid. Its reader gets this error.
    Body(String),
    /// A refusal to be written once the earlier requests are answered.
    Words { why: String, rest: Bytes },
}

/// The first bytes of an HTTP/2 client (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The size of the first read, in bytes. Most heads are shorter.
const FIRST_READ: usize = 1024;

/// The frame header of a GOAWAY (RFC 9113 §6.8). The last stream that may have been processed follows, then
/// the error code.
const CALM: [u8; 9] = [0, 0, 8, 7, 0, 0, 0, 0, 0];
/// The error code (RFC 9113 §7).
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];

impl<S: AsyncRead + AsyncWrite + Unpin> GuardedIo<S> {
    /// Wraps a stream that nothing was read from.
    pub(in crate::http) fn new(stream: DeadlineIo<S>, report: Arc<dyn ConnectionReport>) -> GuardedIo<S> {
        let progress = stream.progress();
        GuardedIo {
            report,
            held: progress.memory.charge(0),
            progress,
            stream,
            inspector: Inspector::Nobody,
            peeked: Peeked::default(),
            is_told_to_go: false,
            paused_for_upgrade: false,
            blocked: None,
            answered: 0,
            is_flushed: true,
            is_stuck: false,
            rewake_on_flush: false,
        }
    }

    /// Returns the state of the connection.
    pub(in crate::http) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Reads until the peer's version is known. The bytes that were read are put back. The deadlines of the
    /// first byte and the head apply.
    ///
    /// # Errors
    /// The peer has gone, or missed a deadline.
    ///
    /// # Cancel safety
    /// Bytes that were read are lost.
    pub(in crate::http) async fn version(&mut self) -> io::Result<HttpVersion> {
        let mut begun = BytesMut::with_capacity(FIRST_READ);
        let version = loop {
            if self.stream.read_buf(&mut begun).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let compared = begun.len().min(PREFACE.len());
            if begun[..compared] != PREFACE[..compared] {
                break HttpVersion::One;
            }
            if compared == PREFACE.len() {
                break HttpVersion::Two;
            }
        };
        self.peeked.put_back(begun);
        Ok(version)
    }

    /// Checks requests of HTTP/1 from here on.
    pub(in crate::http) fn expect_requests(&mut self, bounds: HeadLimits) {
        self.inspector = Inspector::Requests(H1Guard::new(bounds));
    }

    /// Checks frames of HTTP/2 from here on. `requests` counts the requests that were accepted.
    pub(in crate::http) fn expect_frames(&mut self, requests: Arc<AtomicU64>) {
        self.inspector = Inspector::Frames(Box::new(H2Guard::new(PREFACE.len(), requests)));
        self.charge();
    }

    /// Charges the memory that is held now.
    fn charge(&mut self) {
        let received = match &self.inspector {
            Inspector::Nobody => 0,
            // Both hyper and the checks may keep it.
            Inspector::Requests(requests) => {
                Some(2 * requests.head_bytes()).filter(|bytes| *bytes > estimate::COVERED).unwrap_or_default()
            }
            Inspector::Frames(frames) => frames.held(),
        };
        let unsent = if self.is_stuck { estimate::UNSENT } else { 0 };
        self.held.set(received + unsent);
    }

    /// Checks what was read after position `before`, and removes what hyper must not get.
    fn look_at(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let read = &buffer.filled()[before..];
        let keep = match &mut self.inspector {
            Inspector::Nobody => return,
            Inspector::Requests(guard) => match guard.push(read) {
                Ok(Checked::All) => return,
                Ok(Checked::UpTo(good)) => {
                    self.paused_for_upgrade = true;
                    self.peeked.put_back(BytesMut::from(&read[good..]));
                    good
                }
                Ok(Checked::Quoted(QuotedQuery { good, length, encoded })) => {
                    let rest = [&encoded, &read[good + length..]].concat();
                    self.peeked.put_back(BytesMut::from(&rest[..]));
                    buffer.set_filled(before + good);
                    return;
                }
                Err(Violation { good, of: MessagePart::Body, refusal, .. }) => {
                    self.blocked = Some(Blocked::Body(refusal.message(Details::Withheld)));
                    good
                }
                Err(Violation { good, of: MessagePart::Head, refusal, asked }) => {
                    self.blocked = Some(Blocked::Words {
                        why: refusal.message(Details::Withheld),
                        rest: self.report.reject_raw(refusal, &asked),
                    });
                    good
                }
            },
            Inspector::Frames(frames) => match frames.received(read) {
                Ok(()) => {
                    let section = frames.open_section();
                    self.progress.reading.writer().section_open(section, self.stream.head_deadline());
                    if frames.is_full() {
                        if !std::mem::replace(&mut self.is_told_to_go, true) {
                            self.report.h2_event(H2Event::ManyCancels);
                        }
                        self.progress.departure.writer().make_room();
                    }
                    return;
                }
                Err(flood) => {
                    // The last stream is named as processed, so that a proxy does not send it again.
                    let calm =
                        Bytes::from([&CALM[..], &frames.newest().to_be_bytes(), &ENHANCE_YOUR_CALM].concat());
                    self.report.drop_connection(&Refusal::Flood, &flood);
                    let why = Refusal::Flood.message(Details::Withheld);
                    self.blocked = Some(Blocked::Words { why, rest: calm });
                    0
                }
            },
        };
        self.rewake_on_flush = true;
        self.stream.block(true);
        buffer.set_filled(before + keep);
    }

    /// Stops reading, writes the refusal, and ends the connection.
    fn poll_blocked(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let waits = !self.is_flushed || !self.is_quiet();
        if !waits && matches!(self.inspector, Inspector::Requests(_)) {
            self.progress.begun(self.stream.head_deadline());
        }
        match (&mut self.blocked, &self.inspector) {
            (Some(Blocked::Words { .. }), Inspector::Requests(_)) if waits => self.stream.poll_wait(context),
            (Some(Blocked::Words { why, rest }), _) => {
                // Part of a frame may be unflushed. Then nothing can be written.
                while self.is_flushed && !rest.is_empty() {
                    match ready!(Pin::new(&mut self.stream).poll_write(context, rest)) {
                        Ok(written) => rest.advance(written),
                        Err(error) => return Poll::Ready(error),
                    }
                }
                let why = why.clone();
                if let Inspector::Requests(_) = self.inspector {
                    // Drains what the client still sends: a reset could discard the refusal before the
                    // client reads it.
                    let _ended = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
                }
                Poll::Ready(io::Error::new(io::ErrorKind::InvalidData, why))
            }
            (Some(Blocked::Body(why)), _) => {
                Poll::Ready(io::Error::new(io::ErrorKind::InvalidData, why.clone()))
            }
            (None, _) => self.stream.poll_wait(context),
        }
    }

    /// Resumes reading once it is known whether the message has ended HTTP.
    fn resume(&mut self) {
        if self.progress.reading.phase() == ReadPhase::Switched {
            self.inspector = Inspector::Nobody;
        } else if !self.is_quiet() {
            return;
        }
        self.paused_for_upgrade = false;
        self.stream.block(false);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for GuardedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.paused_for_upgrade {
            this.resume();
        }
        if this.paused_for_upgrade || this.blocked.is_some() {
            return this.poll_blocked(context).map(Err);
        }
        let before = buffer.filled().len();
        if this.peeked.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            this.peeked.read(buffer);
            this.progress.begun(this.stream.head_deadline());
        }
        if buffer.filled().len() == before {
            return Poll::Ready(Ok(()));
        }
        this.look_at(buffer, before);
        this.charge();
        // An empty read would mean the end of the stream.
        if buffer.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        // The bytes that were put back begin with the encoded ones. They are checked again in that form.
        if this.blocked.is_none() && !this.paused_for_upgrade && !this.peeked.is_empty() {
            return self.poll_read(context, buffer);
        }
        this.poll_blocked(context).map(Err)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unflushed();
        let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(context, bytes)? else {
            self.is_stuck = true;
            self.charge();
            return Poll::Pending;
        };
        self.note(&[io::IoSlice::new(bytes)], written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unflushed();
        let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write_vectored(context, slices)? else {
            self.is_stuck = true;
            self.charge();
            return Poll::Pending;
        };
        self.note(slices, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        this.is_flushed = true;
        this.is_stuck = false;
        this.charge();
        if let Inspector::Frames(frames) = &this.inspector {
            this.progress.streams.writer().holds(frames.is_answering());
        }
        this.answered = this.progress.answers();
        // hyper does not read again after a response, and no further byte would wake it.
        if this.rewake_on_flush && this.is_quiet() {
            this.rewake_on_flush = false;
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> GuardedIo<S> {
    /// Reports whether every accepted request is answered. Requests are counted here as they pass, because
    /// hyper reads on as soon as it has taken one, before the service knows of it.
    fn is_quiet(&self) -> bool {
        match &self.inspector {
            Inspector::Requests(guard) => guard.heads() == self.answered,
            Inspector::Nobody | Inspector::Frames(_) => true,
        }
    }

    /// Notes that bytes are to be written.
    fn unflushed(&mut self) {
        self.is_flushed = false;
        if let Inspector::Frames(_) = self.inspector {
            self.progress.streams.writer().holds(true);
        }
    }

    /// Checks what was written.
    fn note(&mut self, slices: &[io::IoSlice<'_>], written: usize) {
        let Inspector::Frames(frames) = &mut self.inspector else { return };
        let (report, mut is_answer) = (&self.report, false);
        frames.sent(slices, written, |event| match event {
            H2Event::Answer => is_answer = true,
            event => report.h2_event(event),
        });
        if is_answer {
            self.progress.streams.writer().wrote();
        }
    }
}
