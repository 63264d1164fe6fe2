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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
use super::version::{self, HttpVersion, PREFACE};
use crate::http::refusal::{Details, Refusal};

/// A stream under the checks of its version of HTTP.
pub(in crate::http) struct GuardedIo<S> {
    stream: DeadlineIo<S>,
    /// Reports refusals that hyper does not see, and words the answers.
    report: Arc<dyn ConnectionReport>,
    progress: Progress,
    inspector: Inspector,
    /// Bytes that are to be checked before the stream is read again.
    peeked: Peeked,
    /// Bytes that are checked, and that hyper gets before any other.
    checked: Peeked,
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
            checked: Peeked::default(),
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
        let (version, begun) = version::read(&mut self.stream).await?;
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

    /// Checks what was read after position `before`, and removes what hyper must not get now.
    fn look_at(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let read = &buffer.filled()[before..];
        let keep = match self.inspector {
            Inspector::Nobody => return,
            Inspector::Requests(_) => self.look_at_requests(read),
            Inspector::Frames(_) => self.look_at_frames(read),
        };
        buffer.set_filled(before + keep);
    }

    /// Checks bytes of HTTP/1. Returns how many of them hyper gets now.
    fn look_at_requests(&mut self, read: &[u8]) -> usize {
        let Inspector::Requests(guard) = &mut self.inspector else { return read.len() };
        let good = match guard.push(read) {
            Ok(Checked::All) => read.len(),
            Ok(Checked::Begun(good)) => good,
            Ok(Checked::UpTo(good)) => {
                self.paused_for_upgrade = true;
                self.peeked.put_back(BytesMut::from(&read[good..]));
                good
            }
            Ok(Checked::Quoted(good, QuotedQuery { length, encoded })) => {
                let rest = [&encoded, &read[good + length..]].concat();
                self.peeked.put_back(BytesMut::from(&rest[..]));
                good
            }
            Err(Violation { good, of, refusal, asked }) => {
                let why = refusal.message(Details::Withheld);
                self.blocked = Some(match of {
                    MessagePart::Body => Blocked::Body(why),
                    MessagePart::Head => {
                        Blocked::Words { why, rest: self.report.reject_raw(refusal, &asked) }
                    }
                });
                good
            }
        };
        let next_head = guard.has_begun_head().then_some(self.stream.head_deadline());
        self.progress.reading.writer().next_head(next_head);
        let completed = guard.take_completed();
        if self.paused_for_upgrade || self.blocked.is_some() {
            self.stop_reading();
        }
        let Some(mut completed) = completed else { return good };
        // There may be no room for both in the buffer of hyper.
        completed.extend_from_slice(&read[..good]);
        self.checked.put_back(completed);
        0
    }

    /// Checks bytes of HTTP/2. Returns how many of them hyper gets.
    fn look_at_frames(&mut self, read: &[u8]) -> usize {
        let Inspector::Frames(frames) = &mut self.inspector else { return read.len() };
        if let Err(flood) = frames.received(read) {
            let rest = frames.goaway();
            self.report.drop_connection(&Refusal::Flood, &flood);
            self.blocked = Some(Blocked::Words { why: Refusal::Flood.message(Details::Withheld), rest });
            self.stop_reading();
            return 0;
        }
        let section = frames.open_section();
        self.progress.reading.writer().section_open(section, self.stream.head_deadline());
        if frames.is_full() {
            if !std::mem::replace(&mut self.is_told_to_go, true) {
                self.report.h2_event(H2Event::ManyCancels);
            }
            self.progress.departure.writer().make_room();
        }
        read.len()
    }

    /// Reads nothing more until the responses so far are complete.
    fn stop_reading(&mut self) {
        self.rewake_on_flush = true;
        self.stream.block(true);
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
        let before = buffer.filled().len();
        // An empty read would mean the end of the stream.
        while buffer.filled().len() == before {
            if !this.checked.is_empty() {
                this.checked.read(buffer);
                break;
            }
            if this.paused_for_upgrade {
                this.resume();
            }
            if this.paused_for_upgrade || this.blocked.is_some() {
                return this.poll_blocked(context).map(Err);
            }
            if this.peeked.is_empty() {
                ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            } else {
                this.peeked.read(buffer);
                this.progress.begun(this.stream.head_deadline());
            }
            if buffer.filled().len() == before {
                break;
            }
            this.look_at(buffer, before);
            this.charge();
        }
        Poll::Ready(Ok(()))
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
