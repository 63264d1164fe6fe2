//! The body of a response: bytes in memory, or the output of a running job.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tracing::warn;

use super::access_log::RequestLog;
use super::job_body::JobBody;
use crate::job::Fault;

/// The body that hyper reads. Dropping it ends the job that writes it.
pub(in crate::http) struct Body {
    content: BodyContent,
    /// Writes its access log line when the body is dropped.
    pub(in crate::http) log: Option<RequestLog>,
}

enum BodyContent {
    Full(Bytes),
    Ongoing(Box<JobBody>),
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
        Body { content: BodyContent::Full(bytes), log: None }
    }

    /// Returns the bytes that are in memory.
    pub(in crate::http) fn here(&self) -> &[u8] {
        match &self.content {
            BodyContent::Full(bytes) => bytes,
            BodyContent::Ongoing(_) => &[],
        }
    }

    /// Reports whether the length of the body is known.
    pub(in crate::http) fn has_length(&self) -> bool {
        http_body::Body::size_hint(self).exact().is_some()
    }

    pub(in crate::http) fn ongoing(ongoing: JobBody) -> Body {
        Body { content: BodyContent::Ongoing(Box::new(ongoing)), log: None }
    }

    /// Returns the next frame, or the fault of the job. Does not log.
    pub(in crate::http) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match &mut self.content {
            BodyContent::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            BodyContent::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            BodyContent::Ongoing(ongoing) => ongoing.poll_next(context),
        }
    }

    /// Ends a job whose output is no longer wanted.
    pub(in crate::http) async fn abandon(mut self) {
        if let BodyContent::Ongoing(ongoing) =
            mem::replace(&mut self.content, BodyContent::Full(Bytes::new()))
        {
            ongoing.abandon().await;
        }
    }
}

/// Stops the job with the reason if the client was given up.
impl Drop for Body {
    fn drop(&mut self) {
        let given_up = self.log.as_ref().and_then(RequestLog::given_up);
        if let (BodyContent::Ongoing(ongoing), Some(reason)) = (&self.content, given_up) {
            ongoing.stop(reason);
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
                this.log.iter_mut().for_each(RequestLog::complete);
            }
            next.map(|outcome| match outcome {
                Ok(frame) => {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    let is_last = frame.is_trailers() || this.content.is_whole();
                    this.log.iter_mut().for_each(|log| log.sent(length));
                    this.log.iter_mut().filter(|_| is_last).for_each(RequestLog::complete);
                    Ok(frame)
                }
                Err(fault) => {
                    if let Some(log) = &mut this.log {
                        log.broke_off(&fault);
                    } else {
                        warn!("a response broke off: {fault}");
                    }
                    Err(BrokenOff)
                }
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, BodyContent::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            BodyContent::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            BodyContent::Ongoing(ongoing) => ongoing.size_hint(),
        }
    }
}

impl BodyContent {
    /// Reports whether hyper would ask for nothing more. With a known length, hyper counts the bytes.
    fn is_whole(&self) -> bool {
        match self {
            BodyContent::Full(bytes) => bytes.is_empty(),
            BodyContent::Ongoing(ongoing) => ongoing.is_whole(),
        }
    }
}

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the handler failed after its response had begun")
    }
}

impl std::error::Error for BrokenOff {}
