//! The end of a response that a job gives: the one that all of them come to, whatever wrote the head.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tokio::runtime::Handle;

use super::response_body::Body;
use crate::cgi::{Head, document};
use crate::job::{Fault, PipeReader, ResponseBody, Run, Status, Stop, StopReason, Tail};

/// A job that is being run for its answer.
pub(super) struct Work {
    /// None once the job has ended well.
    pub(super) run: Option<Run>,
    /// Tells a job that is dropped why.
    pub(super) stop: Stop,
    pub(super) last_words: Tail,
}

impl Work {
    /// Lets the job go on; ready when it has ended well.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(run) = &mut self.run else { return Poll::Ready(Ok(())) };
        let outcome = ready!(run.as_mut().poll(context));
        self.run = None;
        Poll::Ready(match outcome? {
            Status::OK => Ok(()),
            status => Err(Fault::Exited { status, last_line: self.last_words.last_line() }),
        })
    }

    /// Lets the job go on to its own end. What it writes meanwhile counts as output and is dropped: a
    /// body that nobody may have must not hold it up, nor be told to it as a reader that has gone.
    fn poll_unread(&mut self, source: &mut Source, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let ended = self.poll(context);
        // One that breaks off is no worse than none.
        while let Poll::Ready(Some(_dropped)) = source.poll_next(context) {}
        ended
    }

    /// Passes on why there is no answer: see [`disown`].
    pub(super) fn refused(&self, fault: Fault) -> Fault {
        disown(&self.stop, &fault);
        fault
    }

    /// Makes the response whose head is known. A job that has ended by now gives a body of known length;
    /// one that has not goes on while the body is read. `begun` is what came with the head.
    ///
    /// # Errors
    /// The job failed, or its body is not what its head announced, before anything was sent.
    pub(super) async fn respond(
        mut self,
        method: &Method,
        head: Head,
        begun: Bytes,
        mut source: Source,
    ) -> Result<Response<Body>, Fault> {
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        if bodiless(head.status) {
            poll_fn(|context| self.poll_unread(&mut source, context)).await?;
            response.headers_mut().remove(CONTENT_LENGTH);
            if head.status == StatusCode::RESET_CONTENT {
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            return Ok(response.map(|()| Body::empty()));
        }
        if method == Method::HEAD {
            // The head is all there is to say: a job that goes on to write a body is ended.
            self.stop.raise(StopReason::Answered);
            return Ok(response.map(|()| Body::empty()));
        }
        let mut body = Ongoing::new(source, begun, self.run, head.content_length);
        body.stop = Some(self.stop);
        let body = body.into_body()?;
        Ok(response.map(|()| body))
    }
}

/// Notes on a job that is about to be dropped, since what it answers is no answer or too long, that this
/// is why: it counts as that, and not as one whose client has left as well.
pub(super) fn disown(stop: &Stop, fault: &Fault) {
    if let Fault::BadAnswer(_) | Fault::OutputTooLarge(_) = fault {
        stop.raise(StopReason::NoAnswer);
    }
}

/// Reports whether a response of this status has no body (RFC 9110 §6.4.1). One to reset a form may not
/// have one either, but has to say so (§15.3.6); those below 200 no handler may give.
fn bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// A body that a job writes while it is read.
///
/// It ends when the job has, and well: one that fails behind its last byte has not said that the byte
/// was the last.
pub(super) struct Ongoing {
    source: Source,
    /// What was read ahead.
    begun: Bytes,
    run: Option<Run>,
    /// Tells a job that is dropped why.
    stop: Option<Stop>,
    /// Bytes still to come, if the handler said how many.
    left: Option<u64>,
    /// What is said behind the last byte, once it is known.
    trailers: Option<HeaderMap>,
    /// Who is told how the job ended; none: a job that fails breaks the response off.
    verdict: Option<Verdict>,
}

/// Where a job's body comes from.
pub(super) enum Source {
    /// Its stdout.
    Pipe(PipeReader),
    /// The response that it has given by itself; none once that has ended.
    Frames(Option<ResponseBody>),
}

/// Says how a job ended behind the body that it wrote.
pub(super) struct Verdict {
    /// Makes the trailers of the job's outcome.
    pub(super) trailers: Box<dyn FnOnce(Result<Status, Fault>) -> HeaderMap + Send>,
    /// None until the job has ended.
    pub(super) outcome: Option<Result<Status, Fault>>,
}

impl Source {
    /// Gives what is written; ready with none when that is all.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self {
            Source::Pipe(reader) => loop {
                if let Some(bytes) = reader.take() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                if !ready!(reader.poll_filled(context)) {
                    return Poll::Ready(None);
                }
            },
            Source::Frames(Some(body)) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
                    *self = Source::Frames(None);
                }
                Poll::Ready(frame)
            }
            Source::Frames(None) => Poll::Ready(None),
        }
    }

    /// Reports whether a job that has ended left it without an end.
    fn is_cut(&self) -> bool {
        matches!(self, Source::Frames(Some(_)))
    }
}

impl Ongoing {
    /// Starts with what came with a head that said how long the body is, if it did. Without a `run` the
    /// job has ended well.
    pub(super) fn new(source: Source, begun: Bytes, run: Option<Run>, left: Option<u64>) -> Ongoing {
        Ongoing { source, begun, run, stop: None, left, trailers: None, verdict: None }
    }

    /// Has somebody told how the job ends.
    pub(super) fn with(self, verdict: Option<Verdict>) -> Ongoing {
        let mut ongoing = self;
        ongoing.verdict = verdict;
        ongoing
    }

    /// Gives what is written; lets the job go on when nothing is.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        loop {
            if let Poll::Ready(Some(next)) = self.poll_written(context) {
                return Poll::Ready(Some(next.map(Frame::data)));
            }
            let Some(run) = &mut self.run else { return Poll::Ready(self.end()) };
            match run.as_mut().poll(context) {
                Poll::Ready(outcome) => {
                    self.run = None;
                    if let Some(fault) = self.conclude(outcome) {
                        return Poll::Ready(Some(Err(fault)));
                    }
                }
                // It may have written since we looked. One that closed its stdout wakes us when it ends.
                Poll::Pending => match self.poll_written(context) {
                    Poll::Ready(Some(next)) => return Poll::Ready(Some(next.map(Frame::data))),
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Gives what is written of the body; its trailers are kept.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            let mut bytes = mem::take(&mut self.begun);
            if bytes.is_empty() {
                bytes = match ready!(self.source.poll_next(context)) {
                    None => return Poll::Ready(None),
                    Some(Err(fault)) => return Poll::Ready(Some(Err(self.reason(fault, context)))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(bytes) => bytes,
                        Err(frame) => {
                            self.trailers = frame.into_trailers().ok().map(document::trailers);
                            return Poll::Ready(None);
                        }
                    },
                };
            }
            if let Some(bytes) = self.within_length(bytes) {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }

    /// Ends a job whose body broke off, and says why it did: the job's own end says more than that it left
    /// its body behind.
    fn reason(&mut self, fault: Fault, context: &mut Context<'_>) -> Fault {
        let Some(run) = &mut self.run else { return fault };
        match run.as_mut().poll(context) {
            Poll::Ready(outcome) => {
                // A run that has ended is not asked again.
                self.run = None;
                outcome.err().unwrap_or(fault)
            }
            Poll::Pending => {
                // Before it is dropped: how it ends is no news then.
                self.stop.iter().for_each(|stop| disown(stop, &fault));
                self.run = None;
                fault
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

    /// Notes how the job ended; returns what breaks the response off.
    fn conclude(&mut self, outcome: Result<Status, Fault>) -> Option<Fault> {
        if let Some(verdict) = &mut self.verdict {
            verdict.outcome = Some(outcome);
            return None;
        }
        match outcome {
            Ok(status) if status.is_ok() => None,
            Ok(status) => Some(Fault::Exited { status, last_line: String::new() }),
            Err(fault) => Some(fault),
        }
    }

    /// Ends the response whose job has ended.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, Fault>> {
        if self.source.is_cut() {
            self.source = Source::Frames(None);
            return Some(Err(Fault::BadAnswer("the handler ended before its body did".to_owned())));
        }
        if let Some(missing) = self.left.take().filter(|left| *left > 0) {
            return Some(Err(Fault::BadAnswer(format!("{missing} bytes less than its Content-Length"))));
        }
        if let Some(Verdict { trailers, outcome }) = self.verdict.take() {
            return Some(Ok(Frame::trailers(trailers(outcome.unwrap_or(Ok(Status::OK))))));
        }
        self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
    }

    /// Makes the body of our response. If the job has ended, all of it is here: then its length is known,
    /// and what is wrong with it can still be told instead.
    ///
    /// # Errors
    /// It is not what the head announced, or was not ended.
    pub(super) fn into_body(mut self) -> Result<Body, Fault> {
        if self.run.is_some() {
            return Ok(Body::ongoing(self));
        }
        let announced = self.left.take();
        let mut context = Context::from_waker(Waker::noop());
        let mut whole = Bytes::new();
        // Never pending: whoever could make it wait has ended.
        while let Poll::Ready(Some(frame)) = self.poll_next(&mut context) {
            match frame?.into_data() {
                Ok(bytes) if whole.is_empty() => whole = bytes,
                Ok(bytes) => {
                    let mut joined = BytesMut::from(whole);
                    joined.extend_from_slice(&bytes);
                    whole = joined.freeze();
                }
                Err(trailers) => self.trailers = trailers.into_trailers().ok(),
            }
            if self.trailers.is_some() {
                break;
            }
        }
        if let Some(announced) = announced.filter(|announced| *announced != whole.len() as u64) {
            let found = whole.len();
            return Err(Fault::BadAnswer(format!(
                "Content-Length says {announced}, the body has {found} bytes"
            )));
        }
        if self.trailers.is_none() {
            return Ok(Body::full(whole));
        }
        (self.begun, self.left) = (whole, announced);
        Ok(Body::ongoing(self))
    }

    /// Reports whether nothing is left that hyper would ask for: it counts bytes where it knows how many.
    pub(super) fn is_whole(&self) -> bool {
        self.left == Some(0) && self.begun.is_empty()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// A job whose whole answer was taken goes on to its end, within its limits: hyper has no use for a
/// body behind its last byte, but the job may have something to put away, and did not fail.
impl Drop for Ongoing {
    fn drop(&mut self) {
        if self.is_whole()
            && let Some(run) = self.run.take()
            && let Ok(runtime) = Handle::try_current()
        {
            // Not held: the engine has it in its table, where a shutdown waits for it and ends it.
            drop(runtime.spawn(run));
        }
    }
}
