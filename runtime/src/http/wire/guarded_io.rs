//! A stream whose every byte is looked at before hyper has it.
//!
//! What hyper would take and we do not is never given to it. Requests that came before are answered
//! first; then the refusal is written here, past hyper, which has nothing to say on this connection any
//! more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::deadline_io::Watched;
use super::h1::head::Bounds;
use super::h1::quoted::Quoted;
use super::h1::{Breach, Framing, Part, Passed};
use super::h2::Frames;
use super::h2::sent::Told;
use super::progress::Progress;
use super::report::Report;
use super::version::Version;
use crate::http::refusal::{Details, Refusal};

/// A stream that is looked at.
pub(in crate::http) struct Inspected<S> {
    stream: Watched<S>,
    /// Answers what hyper does not see.
    report: Arc<dyn Report>,
    progress: Progress,
    inspector: Inspector,
    begun: Begun,
    /// Whether a message has ended that may have ended HTTP as well: nothing is read until it is known.
    is_held: bool,
    /// Set when a byte has come that must not have.
    bar: Option<Bar>,
    /// How many responses are on their way to their ends.
    answered: u64,
    /// Whether all that was written is on its way.
    is_flushed: bool,
    /// Whether hyper is to look at what has become of its read.
    nudge: bool,
    /// Whether it is to connect anew, for others of its users cancel much.
    is_told_to_go: bool,
}

/// What was read and goes to whoever reads next: the last piece first.
#[derive(Default)]
struct Begun(Vec<BytesMut>);

/// Who looks.
enum Inspector {
    /// Nobody: the version is not known yet, or HTTP is over.
    Nobody,
    Requests(Framing),
    /// Boxed: a connection of HTTP/1 need not be as large.
    Frames(Box<Frames>),
}

/// Why nothing is read any more.
enum Bar {
    /// A body is not what its framing says: whoever reads it is told.
    Body(String),
    /// To be said, when the answers before are through.
    Words { why: String, rest: Bytes },
}

/// What a client of HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of the first read: most heads are shorter.
const FIRST_READ: usize = 1024;

/// The head of a GOAWAY (RFC 9113 §6.8). The last stream that may have been acted on follows, then the code.
const CALM: [u8; 9] = [0, 0, 8, 7, 0, 0, 0, 0, 0];
/// Its code (RFC 9113 §7).
const ENHANCE_YOUR_CALM: [u8; 4] = [0, 0, 0, 11];

impl<S: AsyncRead + AsyncWrite + Unpin> Inspected<S> {
    /// Takes a stream that nothing was read from.
    pub(in crate::http) fn new(stream: Watched<S>, report: Arc<dyn Report>) -> Inspected<S> {
        Inspected {
            report,
            progress: stream.progress(),
            stream,
            inspector: Inspector::Nobody,
            begun: Begun::default(),
            is_told_to_go: false,
            is_held: false,
            bar: None,
            answered: 0,
            is_flushed: true,
            nudge: false,
        }
    }

    /// Says where the connection stands.
    pub(in crate::http) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Reads until it is plain which version the peer speaks. What was read is there to be read again.
    /// The deadlines of the first byte and the head hold.
    ///
    /// # Errors
    /// The peer has gone, or keeps us waiting.
    ///
    /// # Cancel safety
    /// What was read is lost.
    pub(in crate::http) async fn version(&mut self) -> io::Result<Version> {
        let mut begun = BytesMut::with_capacity(FIRST_READ);
        let version = loop {
            if self.stream.read_buf(&mut begun).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let compared = begun.len().min(PREFACE.len());
            if begun[..compared] != PREFACE[..compared] {
                break Version::One;
            }
            if compared == PREFACE.len() {
                break Version::Two;
            }
        };
        self.begun.put_back(begun);
        Ok(version)
    }

    /// Looks for requests of HTTP/1 from here on.
    pub(in crate::http) fn expect_requests(&mut self, bounds: Bounds) {
        self.inspector = Inspector::Requests(Framing::new(bounds));
    }

    /// Looks for frames of HTTP/2 from here on; `requests` is how many requests were taken.
    pub(in crate::http) fn expect_frames(&mut self, requests: Arc<AtomicU64>) {
        self.inspector = Inspector::Frames(Box::new(Frames::new(PREFACE.len(), requests)));
    }

    /// Looks at what was read behind `before`, and takes back what hyper must not have.
    fn look_at(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let read = &buffer.filled()[before..];
        let keep = match &mut self.inspector {
            Inspector::Nobody => return,
            Inspector::Requests(framing) => match framing.push(read) {
                Ok(Passed::All) => return,
                Ok(Passed::UpTo(good)) => {
                    self.is_held = true;
                    self.begun.put_back(BytesMut::from(&read[good..]));
                    good
                }
                Ok(Passed::Quoted(Quoted { good, length, encoded })) => {
                    let rest = [&encoded, &read[good + length..]].concat();
                    self.begun.put_back(BytesMut::from(&rest[..]));
                    buffer.set_filled(before + good);
                    return;
                }
                Err(Breach { good, of: Part::Body, refusal, .. }) => {
                    self.bar = Some(Bar::Body(refusal.message(Details::Withheld)));
                    good
                }
                Err(Breach { good, of: Part::Head, refusal, asked }) => {
                    self.bar = Some(Bar::Words {
                        why: refusal.message(Details::Withheld),
                        rest: self.report.turn_away(refusal, &asked),
                    });
                    good
                }
            },
            Inspector::Frames(frames) => match frames.received(read) {
                Ok(()) => {
                    if frames.is_full() {
                        if !std::mem::replace(&mut self.is_told_to_go, true) {
                            self.report.told(Told::ManyCancels);
                        }
                        self.progress.make_room();
                    }
                    return;
                }
                Err(flood) => {
                    // What was begun may have been done: a proxy does not send it again.
                    let calm =
                        Bytes::from([&CALM[..], &frames.newest().to_be_bytes(), &ENHANCE_YOUR_CALM].concat());
                    self.report.cut_off(&Refusal::Flood, &flood);
                    let why = Refusal::Flood.message(Details::Withheld);
                    self.bar = Some(Bar::Words { why, rest: calm });
                    0
                }
            },
        };
        self.nudge = true;
        self.stream.bar(true);
        buffer.set_filled(before + keep);
    }

    /// Lets nothing in, says what is to be said, and ends the connection.
    fn poll_barred(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let waits = !self.is_flushed || !self.is_quiet();
        if !waits && matches!(self.inspector, Inspector::Requests(_)) {
            self.progress.begun(self.stream.head_deadline());
        }
        match (&mut self.bar, &self.inspector) {
            (Some(Bar::Words { .. }), Inspector::Requests(_)) if waits => self.stream.poll_wait(context),
            (Some(Bar::Words { why, rest }), _) => {
                // Half a frame may be on its way: then nothing can be said.
                while self.is_flushed && !rest.is_empty() {
                    match ready!(Pin::new(&mut self.stream).poll_write(context, rest)) {
                        Ok(written) => rest.advance(written),
                        Err(error) => return Poll::Ready(error),
                    }
                }
                let why = why.clone();
                if let Inspector::Requests(_) = self.inspector {
                    // What the client still sends would take from it what it was told.
                    let _ended = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
                }
                Poll::Ready(io::Error::new(io::ErrorKind::InvalidData, why))
            }
            (Some(Bar::Body(why)), _) => Poll::Ready(io::Error::new(io::ErrorKind::InvalidData, why.clone())),
            (None, _) => self.stream.poll_wait(context),
        }
    }

    /// Finds out whether a message that may have ended HTTP has.
    fn hold(&mut self) {
        if self.progress.is_switched() {
            self.inspector = Inspector::Nobody;
        } else if !self.is_quiet() {
            return;
        }
        self.is_held = false;
        self.stream.bar(false);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Inspected<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_held {
            this.hold();
        }
        if this.is_held || this.bar.is_some() {
            return this.poll_barred(context).map(Err);
        }
        let before = buffer.filled().len();
        if this.begun.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            this.begun.read(buffer);
            this.progress.begun(this.stream.head_deadline());
        }
        if buffer.filled().len() == before {
            return Poll::Ready(Ok(()));
        }
        this.look_at(buffer, before);
        // Nothing read would be the end.
        if buffer.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        // What was put back begins with what is to be encoded, and is looked at again, as it is then.
        if this.bar.is_none() && !this.is_held && !this.begun.is_empty() {
            return self.poll_read(context, buffer);
        }
        this.poll_barred(context).map(Err)
    }
}

impl Begun {
    /// The most that is given at once: what is put back of it is copied.
    const PIECE: usize = 4 << 10;

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts what was read in front of the rest.
    fn put_back(&mut self, bytes: BytesMut) {
        if !bytes.is_empty() {
            self.0.push(bytes);
        }
    }

    fn read(&mut self, buffer: &mut ReadBuf<'_>) {
        let Some(first) = self.0.last_mut() else { return };
        let length = first.len().min(buffer.remaining()).min(Begun::PIECE);
        buffer.put_slice(&first.split_to(length));
        if first.is_empty() {
            self.0.pop();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Inspected<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unflushed();
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.note(&[io::IoSlice::new(bytes)], written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unflushed();
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
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
        if let Inspector::Frames(frames) = &this.inspector {
            this.progress.holds(frames.is_answering());
        }
        this.answered = this.progress.answers();
        // hyper does not read again behind a response, and nothing that comes will wake it.
        if this.nudge && this.is_quiet() {
            this.nudge = false;
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Inspected<S> {
    /// Reports whether every request that was let through is answered. hyper asks for more as soon as it
    /// has taken one, before anybody else knows of it: so they are counted where they pass.
    fn is_quiet(&self) -> bool {
        match &self.inspector {
            Inspector::Requests(framing) => framing.heads() == self.answered,
            Inspector::Nobody | Inspector::Frames(_) => true,
        }
    }

    /// Notes that something is to be written.
    fn unflushed(&mut self) {
        self.is_flushed = false;
        if let Inspector::Frames(_) = self.inspector {
            self.progress.holds(true);
        }
    }

    /// Looks at what was written.
    fn note(&mut self, slices: &[io::IoSlice<'_>], written: usize) {
        let Inspector::Frames(frames) = &mut self.inspector else { return };
        let (report, mut is_answer) = (&self.report, false);
        frames.sent(slices, written, |told| match told {
            Told::Answer => is_answer = true,
            told => report.told(told),
        });
        if is_answer {
            self.progress.wrote();
        }
    }
}
