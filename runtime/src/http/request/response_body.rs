//! The body of a response: bytes in memory, or the output of a running job.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tracing::warn;

use super::frame_source::FrameSource;
use super::job_body::JobBody;
use super::request_log::RequestLog;
use crate::http::wire::client_memory::{MemoryCharge, estimate};
use crate::http::wire::progress::Progress;
use crate::job::{Fault, PIPE_CAPACITY, StopReason};

/// The body that hyper reads. Dropping it ends the job that writes it.
pub(in crate::http) struct Body {
    content: BodyContent,
    /// The rest of a frame that was cut.
    rest: Bytes,
    /// The most bytes of a frame.
    piece: usize,
    /// The charge for what the response holds in memory, unless that is little.
    charge: Option<MemoryCharge>,
    /// Writes its access log line when the body is dropped. Boxed: a response passes through many futures, and an idle
    /// connection has room for its body.
    log: Option<Box<RequestLog>>,
}

enum BodyContent {
    Full(Bytes),
    Job(Box<JobBody>),
    Source(Box<dyn FrameSource>),
}

/// The error of a body that broke off. hyper then resets the stream, so that the body does not look
/// complete.
#[derive(Debug)]
pub(in crate::http) struct BrokenOff;

impl Body {
    pub(in crate::http) fn empty() -> Body {
        Body::full(Bytes::new())
    }

    pub(in crate::http) fn full(bytes: Bytes) -> Body {
        Body::of(BodyContent::Full(bytes))
    }

    /// Returns the bytes that are in memory.
    pub(in crate::http) fn here(&self) -> &[u8] {
        match &self.content {
            BodyContent::Full(bytes) => bytes,
            BodyContent::Job(_) | BodyContent::Source(_) => &[],
        }
    }

    /// Reports whether the length of the body is known.
    pub(in crate::http) fn has_length(&self) -> bool {
        http_body::Body::size_hint(self).exact().is_some()
    }

    /// Reports whether the last byte of a known length was returned. The job behind it may go on.
    pub(in crate::http) fn is_whole(&self) -> bool {
        self.rest.is_empty() && self.content.is_whole()
    }

    pub(in crate::http) fn of_job(job: JobBody) -> Body {
        Body::of(BodyContent::Job(Box::new(job)))
    }

    /// Makes a body that is read from a file or made from another body.
    pub(in crate::http) fn from_source(source: impl FrameSource + 'static) -> Body {
        Body::of(BodyContent::Source(Box::new(source)))
    }

    fn of(content: BodyContent) -> Body {
        Body { content, rest: Bytes::new(), piece: usize::MAX, charge: None, log: None }
    }

    /// Makes it the body of a response that is about to be sent.
    pub(in crate::http) fn answer(&mut self, log: Box<RequestLog>, progress: &Progress) {
        let bytes = self.held();
        self.charge = (bytes > estimate::COVERED).then(|| progress.memory.charge(bytes));
        if progress.is_stream() {
            // h2 takes one frame whatever the client's window, and keeps it when this body is dropped.
            self.piece = estimate::H2_PIECE;
        }
        self.log = Some(log);
    }

    /// Returns the next frame, or the fault of the job. Does not log.
    pub(in crate::http) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let next = match &mut self.content {
            _ if !self.rest.is_empty() => Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.rest))))),
            BodyContent::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            BodyContent::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            BodyContent::Job(job) => job.poll_next(context),
            BodyContent::Source(source) => source.poll_next(context),
        };
        next.map_ok(|frame| self.cut(frame))
    }

    /// Returns the number of bytes that its content holds in memory.
    pub(in crate::http) fn held(&self) -> usize {
        match &self.content {
            BodyContent::Full(bytes) => bytes.len(),
            BodyContent::Job(_) => PIPE_CAPACITY,
            BodyContent::Source(source) => source.held(),
        }
    }

    /// Stops the job that writes it, because the client was given up.
    pub(in crate::http) fn stop(&self, reason: StopReason) {
        match &self.content {
            BodyContent::Full(_) => {}
            BodyContent::Job(job) => job.stop(reason),
            BodyContent::Source(source) => source.stop(reason),
        }
    }

    /// Cuts a frame that is too long, and keeps its rest.
    fn cut(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let piece = self.piece;
        let rest = &mut self.rest;
        frame.map_data(|mut bytes| {
            if bytes.len() > piece {
                *rest = bytes.split_off(piece);
            }
            bytes
        })
    }

    /// Ends a job whose output is no longer wanted.
    pub(in crate::http) async fn abandon(mut self) {
        if let BodyContent::Job(job) = mem::replace(&mut self.content, BodyContent::Full(Bytes::new())) {
            job.abandon().await;
        }
    }
}

/// Stops the job with the reason if the client was given up.
impl Drop for Body {
    fn drop(&mut self) {
        if let Some(reason) = self.log.as_deref().and_then(RequestLog::given_up) {
            self.stop(reason);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        let next = this.poll_next(context);
        if let (Poll::Pending, Some(log)) = (&next, &mut this.log) {
            log.body_wanted();
        }
        next.map(|next| {
            if next.is_none() {
                this.log.iter_mut().for_each(|log| log.complete());
            }
            next.map(|outcome| match outcome {
                Ok(frame) => {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    let is_last = frame.is_trailers() || this.is_whole();
                    this.log.iter_mut().for_each(|log| log.sent(length));
                    this.log.iter_mut().filter(|_| is_last).for_each(|log| log.complete());
                    Ok(frame)
                }
                Err(fault) => {
                    if let Some(log) = &mut this.log {
                        log.broke_off(&fault);
                    } else {
                        warn!("a response was cut off: {fault}");
                    }
                    Err(BrokenOff)
                }
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && matches!(&self.content, BodyContent::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let hint = match &self.content {
            BodyContent::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            BodyContent::Job(job) => job.size_hint(),
            BodyContent::Source(source) => source.left().map(SizeHint::with_exact).unwrap_or_default(),
        };
        hint.exact().map(|left| SizeHint::with_exact(left + self.rest.len() as u64)).unwrap_or_default()
    }
}

impl BodyContent {
    /// Reports whether hyper would ask for nothing more. With a known length, hyper counts the bytes.
    fn is_whole(&self) -> bool {
        match self {
            BodyContent::Full(bytes) => bytes.is_empty(),
            BodyContent::Job(job) => job.is_whole(),
            BodyContent::Source(source) => source.left() == Some(0),
        }
    }
}

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the handler failed after its response had begun")
    }
}

impl std::error::Error for BrokenOff {}
