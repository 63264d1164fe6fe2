//! From a job that has been started to the response it gives.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::response_body::{Body, Streaming};
use crate::cgi::{DocumentError, Head, HeadParser, Parsed};
use crate::job::{Fault, Mapping, PipeReader, Run, Status, Stop, StopReason, Tail};

/// A job that is being run and read.
pub(super) struct Answering {
    /// None once the job has ended well.
    pub(super) run: Option<Run>,
    /// Tells a job that is dropped why.
    pub(super) stop: Stop,
    pub(super) reader: PipeReader,
    pub(super) last_words: Tail,
}

impl Answering {
    /// Runs the job until its head is complete, then makes the response. A job that has ended by then
    /// gives a body of known length; one that has not goes on while the body is read.
    ///
    /// # Errors
    /// The job failed, or wrote no valid head, before anything was sent.
    pub(super) async fn response(
        mut self,
        method: &Method,
        mapping: &Mapping,
    ) -> Result<Response<Body>, Fault> {
        let Parsed { head, rest } = match mapping {
            Mapping::Cgi => self.cgi_head().await?,
            Mapping::Raw(content_type) => self.raw_head(content_type).await?,
        };
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        if bodiless(head.status) {
            poll_fn(|context| self.poll_run(context)).await?;
            response.headers_mut().remove(CONTENT_LENGTH);
            return Ok(response.map(|()| Body::empty()));
        }
        if method == Method::HEAD {
            // The head is all there is to say: a job that goes on to write a body is ended.
            self.stop.raise(StopReason::Answered);
            return Ok(response.map(|()| Body::empty()));
        }
        let body = match self.run.take() {
            None => self.whole_body(rest, head.content_length)?,
            Some(run) => Body::streaming(Streaming {
                begun: rest,
                reader: self.reader,
                run: Some(run),
                left: head.content_length,
                verdict: None,
            }),
        };
        Ok(response.map(|()| body))
    }

    /// Reads stdout up to the blank line.
    async fn cgi_head(&mut self) -> Result<Parsed, Fault> {
        let mut parser = HeadParser::new();
        let parsed = poll_fn(|context| {
            loop {
                let ended = self.poll_run(context)?.is_ready();
                let parsed = self.parse(&mut parser)?;
                if ended || parsed.is_some() {
                    return Poll::Ready(Ok::<_, Fault>(parsed));
                }
                ready!(self.poll_more(context));
            }
        });
        match parsed.await? {
            Some(parsed) => Ok(parsed),
            None => Err(parser.finish().into()),
        }
    }

    /// Parses what is here; none: the head goes on.
    fn parse(&mut self, parser: &mut HeadParser) -> Result<Option<Parsed>, Fault> {
        while let Some(chunk) = self.reader.take() {
            if let Some(parsed) = parser.push(chunk)? {
                return Ok(Some(parsed));
            }
        }
        Ok(None)
    }

    /// Waits for the first bytes or the end: a job that fails before either is told as failed.
    async fn raw_head(&mut self, content_type: &str) -> Result<Parsed, Fault> {
        let rest = poll_fn(|context| {
            let ended = self.poll_run(context)?.is_ready();
            match self.reader.take() {
                Some(chunk) => Poll::Ready(Ok::<_, Fault>(chunk)),
                None if ended => Poll::Ready(Ok(Bytes::new())),
                None => self.poll_more(context).map(|()| Ok(self.reader.take().unwrap_or_default())),
            }
        })
        .await?;
        let value = HeaderValue::from_str(content_type)
            .map_err(|_| Fault::Host(anyhow::anyhow!("content_type {content_type:?} is no header value")))?;
        let headers = std::iter::once((CONTENT_TYPE, value)).collect();
        Ok(Parsed { head: Head { status: StatusCode::OK, headers, content_length: None }, rest })
    }

    /// Lets the job go on; ready when it has ended well.
    fn poll_run(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(run) = &mut self.run else { return Poll::Ready(Ok(())) };
        let outcome = ready!(run.as_mut().poll(context));
        self.run = None;
        Poll::Ready(match outcome? {
            Status::OK => Ok(()),
            status => Err(Fault::Exited { status, last_line: self.last_words.last_line() }),
        })
    }

    /// Waits until the job has written something. One that closed its stdout wakes us when it ends.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.reader.poll_filled(context) {
            Poll::Ready(true) => Poll::Ready(()),
            Poll::Ready(false) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes all that a job wrote that has ended.
    fn whole_body(mut self, rest: Bytes, announced: Option<u64>) -> Result<Body, Fault> {
        let mut bytes = rest;
        while let Some(chunk) = self.reader.take() {
            let mut joined = BytesMut::from(bytes);
            joined.extend_from_slice(&chunk);
            bytes = joined.freeze();
        }
        if let Some(announced) = announced.filter(|announced| *announced != bytes.len() as u64) {
            let found = bytes.len();
            return Err(Fault::BadAnswer(format!(
                "Content-Length says {announced}, the body has {found} bytes"
            )));
        }
        Ok(Body::full(bytes))
    }
}

impl From<DocumentError> for Fault {
    fn from(error: DocumentError) -> Fault {
        Fault::BadAnswer(error.to_string())
    }
}

/// Reports whether a response of this status has no body (RFC 9110 §6.4.1).
pub(super) fn bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
