//! Makes the response of a job with a known head: complete if the job has ended, streamed otherwise.

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Response, StatusCode};

use super::body_source::BodySource;
use super::job_body::JobBody;
use super::job_log::{JobLog, broken, with_words};
use super::job_task::{JobDriver, JobEnd, JobTask, first_sign};
use super::response_body::Body;
use super::running_job::RunningJob;
use crate::cgi::CgiHead;
use crate::job::{Fault, PIPE_CAPACITY, PipeReader, StopReason, pipe, pipe_of};

impl RunningJob {
    /// Makes the response for a known head. If the job has ended by now, the body has a known length.
    /// Otherwise the job goes on while the body is read. `begun` holds the bytes that came with the
    /// head.
    ///
    /// # Errors
    /// The job failed, or its body does not match its head, before anything was sent.
    pub(in crate::http) async fn respond(
        mut self,
        method: &Method,
        head: CgiHead,
        begun: Bytes,
        mut source: BodySource,
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
            // Only the head is sent. A job that would go on to write a body is ended.
            if !self.finishes() {
                self.stop.raise(StopReason::Answered);
            }
            return Ok(response.map(|()| Body::empty()));
        }
        let mut carrying = JobDriver::new(self.run.take(), self.stop.clone());
        let (mut reader, mut finish) = match source {
            // The job was polled a moment ago.
            BodySource::Pipe(reader) if carrying.is_running() => (reader, None),
            BodySource::Pipe(reader) => (reader, Some(JobEnd::well())),
            BodySource::Frames(None) => (pipe(0).1, Some(JobEnd::well())),
            BodySource::Frames(Some(body)) => {
                let (writer, reader) = pipe_of(&self.usage, PIPE_CAPACITY);
                carrying = carrying.with(body, writer);
                // Polled here first: most responses are complete by now and need no task.
                let finish = poll_fn(|context| Poll::Ready(carrying.poll(context))).await;
                match finish {
                    Poll::Ready(finish) => (reader, Some(finish)),
                    Poll::Pending => (reader, None),
                }
            }
        };
        let is_short = head.content_length.is_some_and(|length| (begun.len() as u64) < length);
        if finish.is_none() && (begun.is_empty() || is_short) {
            finish = first_sign(&mut carrying, &mut reader, head.status).await;
        }
        let finish = finish.map(|finish| with_words(finish, &self.stderr_tail));
        let body = match finish {
            Some(finish) => whole(begun, reader, finish, head.content_length)?,
            None => {
                let told = JobLog {
                    outlived: self.outlived,
                    stop: self.stop,
                    stderr_tail: self.stderr_tail,
                    id: self.id,
                    entry: self.entry,
                };
                let ongoing = JobBody::new(reader, begun, JobTask::start(carrying), head.content_length);
                Body::ongoing(ongoing.telling(told))
            }
        };
        Ok(response.map(|()| body))
    }
}

/// Reports whether a response with this status has no body (RFC 9110 §6.4.1). A 205 must not have one
/// either, but has to say so with a length of 0 (§15.3.6). Handlers cannot send a status below 200.
fn bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Makes the body of a response whose job has ended. Its length is known, and a fault can still be
/// reported in place of the response.
///
/// # Errors
/// The job failed, or the length differs from the one that the head announced.
fn whole(
    begun: Bytes,
    mut reader: PipeReader,
    finish: JobEnd,
    announced: Option<u64>,
) -> Result<Body, Fault> {
    if let Some(fault) = broken(finish.outcome) {
        return Err(fault);
    }
    let mut whole = begun;
    while let Some(bytes) = reader.take() {
        if whole.is_empty() {
            whole = bytes;
        } else {
            let mut joined = BytesMut::from(whole);
            joined.extend_from_slice(&bytes);
            whole = joined.freeze();
        }
    }
    if let Some(length) = announced {
        // What follows the announced length is dropped, as it is while a job runs.
        whole.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    }
    if let Some(announced) = announced.filter(|announced| *announced != whole.len() as u64) {
        let found = whole.len();
        return Err(Fault::BadAnswer(format!("Content-Length says {announced}, the body has {found} bytes")));
    }
    Ok(match finish.trailers {
        None => Body::full(whole),
        Some(trailers) => Body::ongoing(JobBody::of_ended(reader, whole, announced, trailers)),
    })
}
