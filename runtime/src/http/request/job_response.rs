//! Makes the response of a job with a known head: complete if the job has ended, streamed otherwise.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;

use super::body_source::BodySource;
use super::direct_response;
use super::job_body::JobBody;
use super::job_run::JobRun;
use super::job_task::{JobDriver, JobEnd, JobTask, first_sign, mark_invalid};
use super::response_body::Body;
use super::running_job::RunningJob;
use crate::cgi::{CgiHead, bodiless, document};
use crate::job::{Fault, PIPE_CAPACITY, PipeReader, ResponseBody, StopReason, pipe, pipe_of};

impl RunningJob<BodySource> {
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
    ) -> Result<Response<Body>, Fault> {
        let CgiHead { status, headers, content_length: announced } = head;
        let mut response = direct_response::response(status, headers, ());
        if bodiless(status) {
            let outcome = self.unread().await;
            self.check(outcome)?;
            response.headers_mut().remove(CONTENT_LENGTH);
            if status == StatusCode::RESET_CONTENT {
                response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            return Ok(response.map(|()| Body::empty()));
        }
        if method == Method::HEAD {
            // Only the head is sent. A job that would go on to write a body is ended.
            if !self.finishes() {
                self.log.stop.raise(StopReason::Answered);
            }
            return Ok(response.map(|()| Body::empty()));
        }
        let RunningJob { run, mut output, log } = self;
        let is_running = run.is_running();
        let mut gathered = Bytes::new();
        if let BodySource::Frames(Some(body)) = &mut output
            && !is_running
        {
            let end = poll_fn(|context| Poll::Ready(gather(body, &mut gathered, context))).await;
            if let Poll::Ready(end) = end {
                let trailers = end.inspect_err(|fault| mark_invalid(&log.stop, fault))?;
                let body = ended(gathered, trailers, announced)?;
                return Ok(response.map(|()| body));
            }
        }
        let driver = JobDriver::new(run, log.stop.clone());
        let (mut reader, mut job) = match output {
            // The job was polled a moment ago.
            BodySource::Pipe(reader) if is_running => (reader, JobRun::Running(driver)),
            BodySource::Pipe(reader) => (reader, JobRun::Exited(Some(JobEnd::well()))),
            BodySource::Frames(None) => (pipe(0).1, JobRun::Exited(Some(JobEnd::well()))),
            BodySource::Frames(Some(body)) => {
                let (writer, reader) = pipe_of(&log.job.usage, PIPE_CAPACITY);
                let mut job = JobRun::Running(driver.with(body, writer, gathered));
                // Polled here first: most responses are complete by now and need no task.
                poll_fn(|context| {
                    job.advance(context);
                    Poll::Ready(())
                })
                .await;
                (reader, job)
            }
        };
        let is_short = announced.is_some_and(|length| (begun.len() as u64) < length);
        if job.is_running() && (begun.is_empty() || is_short) {
            first_sign(&mut job, &mut reader, status).await;
        }
        let body = match job {
            JobRun::Exited(end) => {
                let JobEnd { outcome, trailers } = end.unwrap_or_else(JobEnd::well);
                log.stderr_tail.check(outcome)?;
                whole(begun, reader, trailers, announced)?
            }
            JobRun::Running(driver) => {
                // No failure replaces the head from here on. The job may end on another thread before the head is sent.
                log.job.usage.answer.begun();
                let body = JobBody::new(reader, begun, JobTask::start(driver), announced);
                Body::of_job(body.telling(log))
            }
        };
        Ok(response.map(|()| body))
    }
}

/// Makes the response of a job that has ended well, and whose output is in its pipe. Unlike
/// [`RunningJob::respond`] it never waits: most responses are made here, without a future for the wait.
///
/// # Errors
/// The length differs from the `Content-Length` of the head.
pub(super) fn complete(head: CgiHead, begun: Bytes, reader: PipeReader) -> Result<Response<Body>, Fault> {
    let body = whole(begun, reader, None, head.content_length)?;
    Ok(direct_response::response(head.status, head.headers, body))
}

/// Makes the body of a response whose job has ended well. Its length is known, and a fault can still be
/// reported in place of the response.
///
/// # Errors
/// The length differs from the `Content-Length` of the head.
fn whole(
    begun: Bytes,
    mut reader: PipeReader,
    trailers: Option<HeaderMap>,
    announced: Option<u64>,
) -> Result<Body, Fault> {
    let mut whole = begun;
    while let Some(bytes) = reader.take() {
        join(&mut whole, bytes);
    }
    ended(whole, trailers, announced)
}

/// Takes the frames of the body that a job gave before it ended well: they are here, and need no pipe. Returns the
/// trailers. Pending if the end is not here, or if the frames are more than a pipe holds: [`JobDriver`] goes on then.
fn gather(
    body: &mut ResponseBody,
    whole: &mut Bytes,
    context: &mut Context<'_>,
) -> Poll<Result<Option<HeaderMap>, Fault>> {
    while whole.len() <= PIPE_CAPACITY {
        let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(context)).transpose()? else {
            return Poll::Ready(Ok(None));
        };
        match frame.into_data() {
            Ok(bytes) => join(whole, bytes),
            Err(frame) => return Poll::Ready(Ok(frame.into_trailers().ok().map(document::trailers))),
        }
    }
    Poll::Pending
}

/// Appends a piece to those before it.
fn join(whole: &mut Bytes, bytes: Bytes) {
    if whole.is_empty() {
        *whole = bytes;
    } else {
        let mut joined = BytesMut::from(mem::take(whole));
        joined.extend_from_slice(&bytes);
        *whole = joined.freeze();
    }
}

/// Makes the body of a response from all of its bytes and its trailers.
///
/// # Errors
/// The length differs from the `Content-Length` of the head.
fn ended(mut whole: Bytes, trailers: Option<HeaderMap>, announced: Option<u64>) -> Result<Body, Fault> {
    if let Some(length) = announced {
        // What follows the announced length is dropped, as it is while a job runs.
        whole.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    }
    let found = whole.len() as u64;
    if let Some(announced) = announced.filter(|announced| *announced != found) {
        return Err(Fault::short_answer(announced, found));
    }
    Ok(match trailers {
        None => Body::full(whole),
        Some(trailers) => Body::of_job(JobBody::of_ended(pipe(0).1, whole, announced, trailers)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{BodyExt as _, StreamBody};
    use std::task::Waker;

    /// Gathers the frames of a body: its end, and its bytes.
    fn gathered(frames: Vec<Result<Frame<Bytes>, Fault>>) -> (Poll<Result<Option<HeaderMap>, Fault>>, Bytes) {
        let mut body = StreamBody::new(stream::iter(frames)).boxed_unsync();
        let mut whole = Bytes::new();
        let end = gather(&mut body, &mut whole, &mut Context::from_waker(Waker::noop()));
        (end, whole)
    }

    fn data(length: usize) -> Result<Frame<Bytes>, Fault> {
        Ok(Frame::data(vec![b'x'; length].into()))
    }

    #[test]
    fn the_frames_of_a_job_that_has_ended_are_joined_up_to_the_end_or_the_trailers() {
        let (end, whole) = gathered(vec![data(2), data(0), data(3)]);
        assert!(matches!(end, Poll::Ready(Ok(None))) && *whole == *b"xxxxx");

        let fields = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("a"))]);
        let (end, whole) = gathered(vec![data(2), Ok(Frame::trailers(fields.clone())), data(3)]);
        assert!(matches!(end, Poll::Ready(Ok(Some(trailers))) if trailers == fields) && *whole == *b"xx");

        let (end, _) = gathered(vec![data(2), Err(Fault::BadAnswer("broken".to_owned()))]);
        assert!(matches!(end, Poll::Ready(Err(Fault::BadAnswer(_)))));
    }

    #[test]
    fn as_much_as_a_pipe_holds_is_gathered_and_the_rest_is_left_to_a_driver() {
        let (end, whole) = gathered(vec![data(PIPE_CAPACITY - 1), data(1)]);
        assert!(matches!(end, Poll::Ready(Ok(None))) && whole.len() == PIPE_CAPACITY);

        let (end, whole) = gathered(vec![data(PIPE_CAPACITY), data(1), data(1)]);
        assert!(end.is_pending() && whole.len() == PIPE_CAPACITY + 1);
    }
}
