//! The body of a response: bytes that are here, or a job that is still writing them.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tracing::warn;

use super::exchange::Exchange;
use super::relay::Relay;
use crate::job::{Fault, PipeReader, Run, Status};

/// What hyper reads a response from. Dropping it ends the job behind it.
pub(super) struct Body {
    content: Content,
    /// Ends with the body: that is when the exchange is over.
    pub(super) exchange: Option<Exchange>,
}

enum Content {
    Full(Bytes),
    Streaming(Box<Streaming>),
    Relayed(Box<Relay>),
}

/// A job that has said its head and goes on to write its body.
pub(super) struct Streaming {
    /// What came with the head.
    pub(super) begun: Bytes,
    pub(super) reader: PipeReader,
    pub(super) run: Option<Run>,
    /// Bytes still to come, if the handler said how many.
    pub(super) left: Option<u64>,
    /// Who is told how the job ended; none: a job that fails breaks the response off.
    pub(super) verdict: Option<Verdict>,
}

/// Says how a job ended behind the body that it wrote.
pub(super) struct Verdict {
    /// Makes the trailers of the job's outcome.
    pub(super) trailers: Box<dyn FnOnce(Result<Status, Fault>) -> HeaderMap + Send>,
    /// None until the job has ended.
    pub(super) outcome: Option<Result<Status, Fault>>,
}

/// Why a body broke off. hyper resets the stream, so that the client cannot take it for whole.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl Body {
    pub(super) fn empty() -> Body {
        Body::full(Bytes::new())
    }

    pub(super) fn full(bytes: Bytes) -> Body {
        Body { content: Content::Full(bytes), exchange: None }
    }

    /// Returns the bytes that need not be waited for.
    pub(super) fn here(&self) -> &[u8] {
        match &self.content {
            Content::Full(bytes) => bytes,
            Content::Streaming(streaming) => &streaming.begun,
            Content::Relayed(_) => &[],
        }
    }

    pub(super) fn streaming(streaming: Streaming) -> Body {
        Body { content: Content::Streaming(Box::new(streaming)), exchange: None }
    }

    pub(super) fn relayed(relay: Relay) -> Body {
        Body { content: Content::Relayed(Box::new(relay)), exchange: None }
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
        let next = match &mut this.content {
            Content::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Streaming(streaming) => {
                streaming.poll_next(context).map(|next| next.map(|next| next.map(Frame::data)))
            }
            Content::Relayed(relay) => relay.poll_next(context),
        };
        if let (Poll::Pending, Some(exchange)) = (&next, &this.exchange) {
            exchange.asked();
        }
        next.map(|next| {
            if next.is_none() {
                this.exchange.iter_mut().for_each(Exchange::complete);
                return this.content.verdict().map(|trailers| Ok(Frame::trailers(trailers)));
            }
            next.map(|outcome| match outcome {
                Ok(frame) => {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    let is_last = frame.is_trailers() || this.content.is_whole();
                    this.exchange.iter_mut().for_each(|exchange| exchange.sent(length));
                    this.exchange.iter_mut().filter(|_| is_last).for_each(Exchange::complete);
                    Ok(frame)
                }
                Err(fault) => {
                    if let Some(exchange) = &mut this.exchange {
                        exchange.broke_off(&fault);
                    } else {
                        warn!("a response broke off: {fault}");
                    }
                    Err(BrokenOff)
                }
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Streaming(streaming) => streaming.left.map(SizeHint::with_exact).unwrap_or_default(),
            Content::Relayed(relay) => relay.size_hint(),
        }
    }
}

impl Content {
    /// Reports whether nothing is left that hyper would ask for: it counts bytes where it knows how many.
    fn is_whole(&self) -> bool {
        match self {
            Content::Full(bytes) => bytes.is_empty(),
            Content::Streaming(streaming) => streaming.left == Some(0) && streaming.begun.is_empty(),
            Content::Relayed(relay) => relay.size_hint().exact() == Some(0),
        }
    }

    /// Takes what is said behind the last byte.
    fn verdict(&mut self) -> Option<HeaderMap> {
        let Content::Streaming(streaming) = self else { return None };
        let Verdict { trailers, outcome } = streaming.verdict.take()?;
        Some(trailers(outcome.unwrap_or(Ok(Status::OK))))
    }
}

/// A job whose whole answer was taken goes on to its end, within its limits: hyper has no use for a
/// body behind its last byte, but the job may have something to put away, and did not fail.
impl Drop for Streaming {
    fn drop(&mut self) {
        let whole = self.left == Some(0) && self.begun.is_empty();
        if let Some(run) = self.run.take().filter(|_| whole)
            && let Ok(runtime) = Handle::try_current()
        {
            // Not held: the engine has it in its table, where a shutdown waits for it and ends it.
            drop(runtime.spawn(run));
        }
    }
}

impl Streaming {
    /// Gives what is written; lets the job go on when nothing is.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            let begun = std::mem::take(&mut self.begun);
            if let Some(bytes) = Some(begun).filter(|bytes| !bytes.is_empty()).or_else(|| self.reader.take())
            {
                match self.within_length(bytes) {
                    Some(bytes) => return Poll::Ready(Some(Ok(bytes))),
                    None => continue,
                }
            }
            let Some(run) = &mut self.run else { return Poll::Ready(self.ended()) };
            match run.as_mut().poll(context) {
                Poll::Ready(outcome) => {
                    self.run = None;
                    if let Some(verdict) = &mut self.verdict {
                        verdict.outcome = Some(outcome);
                        continue;
                    }
                    match outcome {
                        Ok(status) if status.is_ok() => {}
                        Ok(status) => {
                            let fault = Fault::Exited { status, last_line: String::new() };
                            return Poll::Ready(Some(Err(fault)));
                        }
                        Err(fault) => return Poll::Ready(Some(Err(fault))),
                    }
                }
                Poll::Pending => match self.reader.poll_filled(context) {
                    Poll::Ready(true) => {}
                    // One that closed its stdout goes on without, and wakes us when it ends.
                    Poll::Ready(false) | Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Keeps the handler to the length it announced: what is too much is cut off.
    fn within_length(&mut self, mut bytes: Bytes) -> Option<Bytes> {
        if let Some(left) = &mut self.left {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }

    /// Ends the body, unless the handler announced more than it wrote.
    fn ended(&mut self) -> Option<Result<Bytes, Fault>> {
        let missing = self.left.take().filter(|left| *left > 0)?;
        Some(Err(Fault::BadAnswer(format!("{missing} bytes less than its Content-Length"))))
    }
}

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the handler failed after its response had begun")
    }
}

impl std::error::Error for BrokenOff {}
