//! The body of a request, as the input of a job or as it is.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty};
use tokio::time::{Sleep, sleep};

use super::proxied::unforged;
use super::unread::Unread;
use crate::cgi::document;
use crate::job::{Fault, Input, Measure, RequestBody};

/// Makes a job's input of a request's body. Its trailers are dropped: CGI has no place for them.
///
/// Nothing is read before the job reads: that is also what makes hyper answer
/// `Expect: 100-continue`, or not, if the job never asks.
///
/// # Errors
/// [`Fault::InputTooLarge`]: the length was told beforehand and is above `most` bytes.
pub(super) fn input(body: Unread, most: u64, idle: Duration) -> Result<Input, Fault> {
    Ok(Arriving::new(body, most, idle)?.map_or_else(Input::empty, Input::stream))
}

/// Hands a request's body on as it is, within the same bounds; of its trailers, what may stand there.
///
/// # Errors
/// [`Fault::InputTooLarge`]: the length was told beforehand and is above `most` bytes.
pub(super) fn whole(body: Unread, most: u64, idle: Duration) -> Result<RequestBody, Fault> {
    let arriving = Arriving::new(body, most, idle)?;
    Ok(arriving.map_or_else(nothing, |arriving| arriving.boxed()))
}

/// Makes the body of a request that has none.
pub(super) fn nothing() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// Takes from trailers what belongs into a head, which was checked, and what only the daemon may say.
fn without_forgeries(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(fields) => Frame::trailers(unforged(document::trailers(fields))),
        Err(data) => data,
    }
}

/// A body while it arrives.
struct Arriving {
    body: Unread,
    measure: Measure,
    idle: Duration,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    /// Starts to receive a body; none: there is none.
    fn new(mut body: Unread, most: u64, idle: Duration) -> Result<Option<Arriving>, Fault> {
        let Some(hint) = body.look().map(Body::size_hint) else { return Ok(None) };
        if hint.lower() > most {
            body.give_up();
            return Err(Fault::InputTooLarge(most));
        }
        let arriving = Arriving { body, measure: Measure::new(most), idle, patience: None };
        Ok(Some(arriving).filter(|_| hint.exact() != Some(0)))
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        let Some(body) = this.body.body() else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
            let idle = this.idle;
            ready!(this.patience.get_or_insert_with(|| Box::pin(sleep(idle))).as_mut().poll(context));
            this.body.give_up();
            return Poll::Ready(Some(Err(Fault::InputIdle(idle))));
        };
        this.patience = None;
        this.body.read();
        let frame = match frame {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(Fault::InputBroken(error.to_string())))),
            Some(Ok(frame)) => without_forgeries(frame),
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        if let Err(fault) = this.measure.take(length) {
            this.body.give_up();
            return Poll::Ready(Some(Err(fault)));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.look().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.look().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Stream for Arriving {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = match ready!(self.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                None => return Poll::Ready(None),
            };
            if let Some(chunk) = frame.into_data().ok().filter(|chunk| !chunk.is_empty()) {
                return Poll::Ready(Some(Ok(chunk)));
            }
        }
    }
}
