//! Makes the response of a CGI job from its stdout.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};

use super::body_source::BodySource;
use super::job_response::complete;
use super::job_run::JobEvent;
use super::response_body::Body;
use super::running_job::RunningJob;
use crate::cgi::{CgiHead, DocumentError, HeadParser, Parsed, bodiless};
use crate::engine::Engine;
use crate::job::{Fault, Job, OutputFormat, PIPE_CAPACITY, PipeReader, pipe_of};

impl RunningJob<PipeReader> {
    /// Starts the job of a CGI handler, with a pipe for its stdout.
    pub(in crate::http) fn start_cgi(engine: &Arc<Engine>, mut job: Box<Job>) -> RunningJob<PipeReader> {
        let (writer, reader) = pipe_of(&job.usage, PIPE_CAPACITY);
        // The job is new, and its stdout has no destination yet.
        job.stdout.add(Arc::new(writer));
        RunningJob::start(engine, job, reader)
    }

    /// Runs the job until its head is complete, then makes the response.
    ///
    /// # Errors
    /// The job failed, or wrote no valid head, before anything was sent.
    pub(in crate::http) async fn response(
        mut self,
        method: &Method,
        mapping: &OutputFormat,
    ) -> Result<Response<Body>, Fault> {
        if self.finishes() {
            self.output.forgive();
            self.outlive();
        }
        let parsed = match mapping {
            OutputFormat::Cgi => self.cgi_head().await,
            OutputFormat::Raw(content_type) => self.raw_head(content_type).await,
        };
        let Parsed { head, rest } = parsed.map_err(|fault| self.refused(fault))?;
        if self.run.is_running() || method == Method::HEAD || bodiless(head.status) {
            return self.with(BodySource::Pipe).respond(method, head, rest).await;
        }
        complete(head, rest, self.output)
    }

    /// Waits until there is output, and returns `false` at its end.
    ///
    /// # Errors
    /// The job failed.
    async fn has_output(&mut self) -> Result<bool, Fault> {
        loop {
            match self.run.written(&mut self.output).await {
                Some(JobEvent::Output(())) => return Ok(true),
                Some(JobEvent::Exited(outcome)) => self.check(outcome)?,
                None => return Ok(false),
            }
        }
    }

    /// Reads and parses the head, up to the blank line.
    async fn cgi_head(&mut self) -> Result<Parsed, Fault> {
        let mut parser = HeadParser::new();
        while self.has_output().await? {
            if let Some(parsed) = self.parse(&mut parser)? {
                return Ok(parsed);
            }
        }
        Err(parser.finish().into())
    }

    /// Parses the bytes that are here. Returns `None` if the head is not complete.
    fn parse(&mut self, parser: &mut HeadParser) -> Result<Option<Parsed>, Fault> {
        while let Some(chunk) = self.output.take() {
            if let Some(parsed) = parser.push(chunk)? {
                return Ok(Some(parsed));
            }
        }
        Ok(None)
    }

    /// Waits for the first bytes or the end. A job that fails before either is reported as failed.
    async fn raw_head(&mut self, content_type: &str) -> Result<Parsed, Fault> {
        let rest =
            if self.has_output().await? { self.output.take().unwrap_or_default() } else { Bytes::new() };
        let value = HeaderValue::from_str(content_type).map_err(|_| {
            Fault::Host(anyhow::anyhow!("content_type {content_type:?} is not a header value"))
        })?;
        let headers = std::iter::once((CONTENT_TYPE, value)).collect();
        Ok(Parsed { head: CgiHead { status: StatusCode::OK, headers, content_length: None }, rest })
    }
}

impl From<DocumentError> for Fault {
    fn from(error: DocumentError) -> Fault {
        Fault::BadAnswer(error.to_string())
    }
}
