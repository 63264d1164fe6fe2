//! The trait of response bodies that neither a job writes nor memory holds: files, and compressed bodies.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use crate::job::{Fault, StopReason};

/// A response body that is made while it is read.
///
/// A trait object, because the compressor of a body reads another body.
pub(in crate::http) trait FrameSource: Send {
    /// Returns the next frame, or the reason why the body breaks off.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>>;

    /// Returns the number of bytes still to come, if it is known.
    fn left(&self) -> Option<u64>;

    /// Returns the number of bytes that it holds in memory.
    fn held(&self) -> usize;

    /// Ends what writes the body, because the client was given up.
    fn stop(&self, _reason: StopReason) {}
}
