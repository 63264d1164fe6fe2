//! What the far end of an upgraded connection sends, as the input of a job.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;

use crate::http::call::PIPE;
use crate::job::{Fault, Input, PipeReader, PipeWriter, pipe};

/// Says whether a job has asked for input yet.
pub(super) struct Wanted(Arc<AtomicBool>);

struct Arriving {
    reader: PipeReader,
    wanted: Arc<AtomicBool>,
    left: u64,
    most: u64,
}

/// Makes an input of at most `most` bytes, and the end that feeds it: dropping that is the input's end.
///
/// Bytes are read ahead of the job, as many as a pipe holds: a client that leaves is noticed while
/// the job does something else.
pub(super) fn feed(most: u64) -> (PipeWriter, Input, Wanted) {
    let (writer, reader) = pipe(PIPE);
    let wanted = Arc::new(AtomicBool::new(false));
    let arriving = Arriving { reader, wanted: wanted.clone(), left: most, most };
    (writer, Input::stream(arriving), Wanted(wanted))
}

impl Wanted {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Stream for Arriving {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.wanted.store(true, Ordering::Relaxed);
        let next = ready!(Pin::new(&mut this.reader).poll_next(context));
        Poll::Ready(next.map(|bytes| match this.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                this.left = left;
                Ok(bytes)
            }
            None => Err(Fault::InputTooLarge(this.most)),
        }))
    }
}
