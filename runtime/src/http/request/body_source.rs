//! The source of a response body: the stdout of a job, or a body that the handler gives.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Body as _;

use crate::job::{PipeReader, ResponseBody};

/// The source of a job's response body.
pub(in crate::http) enum BodySource {
    /// Its stdout.
    Pipe(PipeReader),
    /// The body of the response that the handler gave, or `None` once that has ended.
    Frames(Option<ResponseBody>),
}

impl BodySource {
    /// Reads and drops the body. A body that breaks off is no error here.
    pub(in crate::http) fn poll_drop(&mut self, context: &mut Context<'_>) {
        match self {
            BodySource::Pipe(reader) => {
                while let Poll::Ready(true) = reader.poll_filled(context) {
                    reader.take();
                }
            }
            BodySource::Frames(None) => {}
            BodySource::Frames(Some(body)) => {
                while let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
                    if !matches!(frame, Some(Ok(_))) {
                        *self = BodySource::Frames(None);
                        return;
                    }
                }
            }
        }
    }
}
