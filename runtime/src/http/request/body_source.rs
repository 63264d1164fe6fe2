//! Where the body of a response comes from.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Body as _;

use crate::job::{PipeReader, ResponseBody};

/// Where a job's body comes from.
pub(in crate::http) enum BodySource {
    /// Its stdout.
    Pipe(PipeReader),
    /// The response that it has given by itself; `None` once that has ended.
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
