//! A response that a handler gives by itself, on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use super::response_body::Body;
use crate::cgi;
use crate::job::{Fault, ResponseBody, Run, Status};

/// A body that a job writes while it is read.
///
/// It ends when the job has, and well: a handler that traps behind its last chunk has not said that
/// the chunk was the last.
pub(super) struct Relay {
    /// None once it has ended.
    body: Option<ResponseBody>,
    run: Option<Run>,
    /// What was read ahead.
    begun: Bytes,
    /// Bytes still to come, if the handler said how many.
    left: Option<u64>,
    /// What is said behind the last byte, once it is known.
    trailers: Option<HeaderMap>,
}

impl Relay {
    /// Starts with the body of a response whose head said how long it is, if it did. Without a `run`
    /// the job has ended well.
    pub(super) fn new(body: ResponseBody, run: Option<Run>, left: Option<u64>) -> Relay {
        Relay { body: Some(body), run, begun: Bytes::new(), left, trailers: None }
    }

    /// Gives what is written; lets the job go on when nothing is.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if !self.begun.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.begun)))));
        }
        loop {
            if let Poll::Ready(Some(next)) = self.poll_body(context) {
                return Poll::Ready(Some(next.map(Frame::data)));
            }
            let Some(run) = &mut self.run else { return Poll::Ready(self.end()) };
            match run.as_mut().poll(context) {
                Poll::Ready(outcome) => {
                    self.run = None;
                    match outcome {
                        Ok(Status::OK) => {}
                        Ok(status) => {
                            return Poll::Ready(Some(Err(Fault::Exited {
                                status,
                                last_line: String::new(),
                            })));
                        }
                        Err(fault) => return Poll::Ready(Some(Err(fault))),
                    }
                }
                // It may have written since we looked, without having to wake us.
                Poll::Pending => match self.poll_body(context) {
                    Poll::Ready(Some(next)) => return Poll::Ready(Some(next.map(Frame::data))),
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Reads the body up to its end, where the trailers are kept.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        while let Some(body) = &mut self.body {
            let frame = match Pin::new(body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => {
                    if let Some(bytes) = self.within_length(bytes) {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Some(Ok(Err(frame))) => {
                    self.trailers = frame.into_trailers().ok().map(cgi::document::trailers);
                    self.body = None;
                }
                Some(Err(fault)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(self.reason(fault, context))));
                }
                None => self.body = None,
            }
        }
        Poll::Ready(None)
    }

    /// Says why a body broke off: the job's own end says more than that it left its body behind.
    fn reason(&mut self, fault: Fault, context: &mut Context<'_>) -> Fault {
        match self.run.as_mut().map(|run| run.as_mut().poll(context)) {
            Some(Poll::Ready(Err(cause))) => cause,
            _ => fault,
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

    /// Ends the response whose job has ended well.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, Fault>> {
        if self.body.take().is_some() {
            return Some(Err(Fault::BadAnswer("the handler ended before its body did".to_owned())));
        }
        if let Some(missing) = self.left.take().filter(|left| *left > 0) {
            return Some(Err(Fault::BadAnswer(format!("{missing} bytes less than its Content-Length"))));
        }
        self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
    }

    /// Makes the body of our response. If the job has ended, all of it is here: then its length is
    /// known, and what is wrong with it can still be told instead.
    ///
    /// # Errors
    /// It is not what the head announced, or was not ended.
    pub(super) fn into_body(mut self) -> Result<Body, Fault> {
        if self.run.is_some() {
            return Ok(Body::relayed(self));
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut whole = Bytes::new();
        // Never pending: whoever could make it wait has ended.
        while let Poll::Ready(Some(frame)) = self.poll_next(&mut context) {
            match frame?.into_data() {
                Ok(bytes) if whole.is_empty() => whole = bytes,
                Ok(bytes) => whole = [whole, bytes].concat().into(),
                Err(trailers) => {
                    self.begun = whole;
                    self.trailers = trailers.into_trailers().ok();
                    return Ok(Body::relayed(self));
                }
            }
        }
        Ok(Body::full(whole))
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}
