//! The body of a response from another server, with its time and size limits.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::bounds::CallBounds;
use super::call_outcome::CallOutcome;
use super::error::blame;
use super::pool::{ConnectionPool, PooledConnection};
use crate::job::outbound::{CallBody, OutboundError, OutboundOutcome};
use crate::net::outbound::Origin;

/// A response body that is being received. Dropping it before its end closes the connection.
pub(super) struct OutboundBody {
    /// `None` once the body has ended.
    open: Option<OpenBody>,
    max: u64,
    left: u64,
    between_bytes: Option<Duration>,
    /// When the wait for the next piece is over.
    alarm: Pin<Box<Sleep>>,
    /// When the whole exchange must be over.
    whole: Instant,
    counted: Option<CallOutcome>,
}

/// Resources that the exchange holds until it ends.
struct OpenBody {
    body: Incoming,
    then: Reuse,
    _place: OwnedSemaphorePermit,
}

/// The connection, with what is needed to return it to the pool once the exchange has ended.
pub(super) struct Reuse {
    pub(super) link: PooledConnection,
    pub(super) kept: ConnectionPool,
    pub(super) origin: Origin,
}

impl OutboundBody {
    pub(super) fn new(
        body: Incoming,
        bounds: CallBounds,
        then: Reuse,
        place: OwnedSemaphorePermit,
    ) -> OutboundBody {
        let CallBounds { between_bytes, whole, body: max, .. } = bounds;
        let open = OpenBody { body, then, _place: place };
        let open = if open.body.is_end_stream() {
            open.end();
            None
        } else {
            Some(open)
        };
        let mut received = OutboundBody {
            open,
            max,
            left: max,
            between_bytes,
            alarm: Box::pin(sleep_until(whole)),
            whole,
            counted: None,
        };
        received.rest();
        received
    }

    /// Counts the call when the body ends or is dropped.
    pub(super) fn counted(mut self, mut counted: CallOutcome) -> CallBody {
        // A body that the job does not read to its end still counts as answered.
        counted.becomes(OutboundOutcome::Answered);
        self.counted = Some(counted);
        self.boxed_unsync()
    }

    /// Restarts the timer for the next piece.
    fn rest(&mut self) {
        if let Some(time) = self.between_bytes {
            let next = (Instant::now() + time).min(self.whole);
            self.alarm.as_mut().reset(next);
        }
    }

    fn fail(&mut self, error: OutboundError) -> OutboundError {
        self.open = None;
        if let Some(counted) = &mut self.counted {
            counted.becomes(error.outcome());
        }
        error
    }
}

impl OpenBody {
    /// Returns the connection to the pool for the next call.
    fn end(self) {
        let Reuse { link, kept, origin } = self.then;
        kept.keep(origin, link);
    }
}

impl Body for OutboundBody {
    type Data = Bytes;
    type Error = OutboundError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutboundError>>> {
        let this = &mut *self;
        let Some(open) = &mut this.open else { return Poll::Ready(None) };
        let frame = match Pin::new(&mut open.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(this.alarm.as_mut().poll(cx));
                let over = Instant::now() >= this.whole;
                let late = if over { OutboundError::TimedOut } else { OutboundError::BetweenBytesTimeout };
                return Poll::Ready(Some(Err(this.fail(late))));
            }
        };
        let Some(frame) = frame else {
            if let Some(open) = this.open.take() {
                open.end();
            }
            return Poll::Ready(None);
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                let error = match blame(&error) {
                    // Whatever the error is, the response was incomplete.
                    OutboundError::Protocol(_) => OutboundError::Incomplete,
                    other => other,
                };
                return Poll::Ready(Some(Err(this.fail(error))));
            }
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match this.left.checked_sub(length) {
            Some(left) => this.left = left,
            None => {
                let max = this.max;
                return Poll::Ready(Some(Err(this.fail(OutboundError::ResponseTooLarge(max)))));
            }
        }
        // A server that sends each small piece in time can still exceed the time for the whole
        // body.
        if Instant::now() >= this.whole {
            return Poll::Ready(Some(Err(this.fail(OutboundError::TimedOut))));
        }
        this.rest();
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.open.as_ref().map_or_else(|| SizeHint::with_exact(0), |open| open.body.size_hint())
    }
}
