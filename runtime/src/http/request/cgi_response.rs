//! Makes the response of a CGI job from its stdout.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};

use super::body_source::BodySource;
use super::response_body::Body;
use super::running_job::RunningJob;
use crate::cgi::{CgiHead, DocumentError, HeadParser, Parsed};
use crate::job::{Fault, OutputFormat, PipeReader};

/// A running job and the pipe of its stdout.
pub(in crate::http) struct CgiRun {
    pub(in crate::http) work: RunningJob,
    pub(in crate::http) reader: PipeReader,
}

impl CgiRun {
    /// Runs the job until its head is complete, then makes the response.
    ///
    /// # Errors
    /// The job failed, or wrote no valid head, before anything was sent.
    pub(in crate::http) async fn response(
        mut self,
        method: &Method,
        mapping: &OutputFormat,
    ) -> Result<Response<Body>, Fault> {
        if self.work.finishes() {
            self.reader.forgive();
        }
        let parsed = match mapping {
            OutputFormat::Cgi => self.cgi_head().await,
            OutputFormat::Raw(content_type) => self.raw_head(content_type).await,
        };
        let Parsed { head, rest } = parsed.map_err(|fault| self.work.refused(fault))?;
        self.work.respond(method, head, rest, BodySource::Pipe(self.reader)).await
    }

    /// Reads and parses the head, up to the blank line.
    async fn cgi_head(&mut self) -> Result<Parsed, Fault> {
        let mut parser = HeadParser::new();
        let parsed = poll_fn(|context| {
            loop {
                let ended = self.work.poll(context)?.is_ready();
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

    /// Parses the bytes that are here. Returns `None` if the head is not complete.
    fn parse(&mut self, parser: &mut HeadParser) -> Result<Option<Parsed>, Fault> {
        while let Some(chunk) = self.reader.take() {
            if let Some(parsed) = parser.push(chunk)? {
                return Ok(Some(parsed));
            }
        }
        Ok(None)
    }

    /// Waits for the first bytes or the end. A job that fails before either is reported as failed.
    async fn raw_head(&mut self, content_type: &str) -> Result<Parsed, Fault> {
        let rest = poll_fn(|context| {
            let ended = self.work.poll(context)?.is_ready();
            match self.reader.take() {
                Some(chunk) => Poll::Ready(Ok::<_, Fault>(chunk)),
                None if ended => Poll::Ready(Ok(Bytes::new())),
                None => self.poll_more(context).map(|()| Ok(self.reader.take().unwrap_or_default())),
            }
        })
        .await?;
        let value = HeaderValue::from_str(content_type).map_err(|_| {
            Fault::Host(anyhow::anyhow!("content_type {content_type:?} is not a header value"))
        })?;
        let headers = std::iter::once((CONTENT_TYPE, value)).collect();
        Ok(Parsed { head: CgiHead { status: StatusCode::OK, headers, content_length: None }, rest })
    }

    /// Waits until the job has written something. A job that has closed its stdout wakes us when it
    /// ends.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.reader.poll_filled(context) {
            Poll::Ready(true) => Poll::Ready(()),
            Poll::Ready(false) | Poll::Pending => Poll::Pending,
        }
    }
}

impl From<DocumentError> for Fault {
    fn from(error: DocumentError) -> Fault {
        Fault::BadAnswer(error.to_string())
    }
}
