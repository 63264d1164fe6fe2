//! A request body while it arrives: from a client, or from a middleware that passes it on.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::job::{Fault, RequestBody};

/// A request body while it arrives.
pub(in crate::http) enum ArrivingBody {
    /// From the client of the connection.
    Client(Incoming),
    /// From a middleware.
    Passed(RequestBody),
}

impl Body for ArrivingBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match &mut *self {
            ArrivingBody::Client(body) => {
                let frame = Pin::new(body).poll_frame(context);
                frame.map_err(|error| Fault::InputBroken(error.to_string()))
            }
            ArrivingBody::Passed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ArrivingBody::Client(body) => body.is_end_stream(),
            ArrivingBody::Passed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ArrivingBody::Client(body) => body.size_hint(),
            ArrivingBody::Passed(body) => body.size_hint(),
        }
    }
}
