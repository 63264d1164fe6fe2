//! The body of a request as the input of a job.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::deadline::Progress;
use crate::job::{Fault, Input};

/// Makes a job's input of a request's body.
///
/// Nothing is read before the job reads: that is also what makes hyper answer
/// `Expect: 100-continue`, or not, if the job never asks.
///
/// # Errors
/// [`Fault::InputTooLarge`]: the length was told beforehand and is above `most` bytes.
pub(super) fn input(body: Incoming, most: u64, idle: Duration, progress: &Progress) -> Result<Input, Fault> {
    let hint = body.size_hint();
    if hint.lower() > most {
        return Err(Fault::InputTooLarge(most));
    }
    if hint.exact() == Some(0) {
        return Ok(Input::empty());
    }
    Ok(Input::stream(Arriving { body, left: most, most, idle, patience: None, progress: progress.clone() }))
}

/// A body while it arrives.
struct Arriving {
    body: Incoming,
    left: u64,
    most: u64,
    idle: Duration,
    patience: Option<Pin<Box<Sleep>>>,
    /// Is told when all has arrived.
    progress: Progress,
}

impl Stream for Arriving {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
                let idle = this.idle;
                ready!(this.patience.get_or_insert_with(|| Box::pin(sleep(idle))).as_mut().poll(context));
                return Poll::Ready(Some(Err(Fault::InputIdle(idle))));
            };
            this.patience = None;
            this.progress.owes(!this.body.is_end_stream());
            let chunk = match frame {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(Fault::InputBroken(error.to_string())))),
                // Trailers: CGI has no place for them.
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            match this.left.checked_sub(chunk.len() as u64) {
                None => return Poll::Ready(Some(Err(Fault::InputTooLarge(this.most)))),
                Some(_) if chunk.is_empty() => {}
                Some(left) => {
                    this.left = left;
                    return Poll::Ready(Some(Ok(chunk)));
                }
            }
        }
    }
}
