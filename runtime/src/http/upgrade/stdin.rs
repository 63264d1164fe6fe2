//! What the far end of an upgraded connection sends, as the input of a job.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::task::AtomicWaker;

use crate::http::call::PIPE;
use crate::job::{Fault, Input, Measure, PipeReader, PipeWriter, pipe};

/// Tells when a job asks for input for the first time.
#[derive(Clone, Default)]
pub(super) struct Wanted(Arc<Shared>);

#[derive(Default)]
struct Shared {
    wanted: AtomicBool,
    waiting: AtomicWaker,
}

struct Arriving {
    reader: PipeReader,
    wanted: Wanted,
    measure: Measure,
}

/// Makes an input of at most `most` bytes, and the end that feeds it: dropping that is the input's end.
///
/// Bytes are read ahead of the job, as many as a pipe holds: a client that leaves is noticed while
/// the job does something else.
pub(super) fn feed(most: u64) -> (PipeWriter, Input, Wanted) {
    let (writer, reader) = pipe(PIPE);
    let wanted = Wanted::default();
    let arriving = Arriving { reader, wanted: wanted.clone(), measure: Measure::new(most) };
    (writer, Input::stream(arriving), wanted)
}

impl Wanted {
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        self.0.waiting.register(context.waker());
        if self.0.wanted.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Tells whoever waits. Costs a load once it is told.
    fn tell(&self) {
        if !self.0.wanted.load(Ordering::Relaxed) {
            self.0.wanted.store(true, Ordering::Release);
            self.0.waiting.wake();
        }
    }
}

impl Stream for Arriving {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.wanted.tell();
        let next = ready!(Pin::new(&mut this.reader).poll_next(context));
        Poll::Ready(next.map(|bytes| this.measure.take(bytes.len()).map(|()| bytes)))
    }
}
