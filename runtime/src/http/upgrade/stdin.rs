//! The bytes from the client of an upgraded connection, as the stdin of its job.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use crate::http::wire::lazy_timer::LazyTimer;
use crate::job::{Fault, Input, InputLimit, PIPE_CAPACITY, PipeReader, PipeWriter, pipe};

/// Signals when a job first asks for input.
#[derive(Clone, Default)]
pub(super) struct InputWanted(Arc<WantedState>);

#[derive(Default)]
struct WantedState {
    wanted: AtomicBool,
    waiting: AtomicWaker,
}

struct TunnelInput {
    reader: PipeReader,
    wanted: InputWanted,
    measure: InputLimit,
    /// How long the client may be silent while the job wants input, and since when it is silent.
    idle: Option<Duration>,
    since: Option<Instant>,
    alarm: LazyTimer,
}

/// Makes an input of at most `max` bytes, and the writer that feeds it. With `idle`, the client may be
/// silent for that long while the job wants input. Closing the writer ends the input. Dropping the writer
/// without a close means that the client is lost: the job is about to be cancelled, and must not take the
/// bytes so far for the whole.
///
/// Bytes are read ahead of the job, as many as a pipe holds. So the daemon notices a client that leaves while
/// the job does something else.
pub(super) fn feed(max: u64, idle: Option<Duration>) -> (PipeWriter, Input, InputWanted) {
    let (writer, reader) = pipe(PIPE_CAPACITY);
    let wanted = InputWanted::default();
    let (measure, alarm) = (InputLimit::new(max), LazyTimer::default());
    let arriving = TunnelInput { reader, wanted: wanted.clone(), measure, idle, since: None, alarm };
    (writer, Input::stream(arriving), wanted)
}

impl InputWanted {
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        self.0.waiting.register(context.waker());
        if self.0.wanted.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Sets the signal. Later calls cost one atomic load.
    fn tell(&self) {
        if !self.0.wanted.load(Ordering::Relaxed) {
            self.0.wanted.store(true, Ordering::Release);
            self.0.waiting.wake();
        }
    }
}

impl Stream for TunnelInput {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.wanted.tell();
        let Poll::Ready(next) = Pin::new(&mut this.reader).poll_next(context) else {
            let Some(idle) = this.idle else { return Poll::Pending };
            let since = *this.since.get_or_insert_with(Instant::now);
            ready!(this.alarm.poll(since + idle, context));
            return Poll::Ready(Some(Err(Fault::TimedOut(idle))));
        };
        this.since = None;
        if next.is_none() && !this.reader.is_closed() {
            return Poll::Pending;
        }
        Poll::Ready(next.map(|bytes| this.measure.take(bytes.len()).map(|()| bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Destination as _;
    use futures_util::{FutureExt as _, StreamExt as _};

    #[test]
    fn an_input_ends_where_its_client_ends_it_and_not_where_it_breaks_off() {
        for is_whole in [true, false] {
            let (writer, reader) = pipe(PIPE_CAPACITY);
            let (measure, alarm) = (InputLimit::new(10), LazyTimer::default());
            let mut arriving = TunnelInput {
                reader,
                wanted: InputWanted::default(),
                measure,
                idle: None,
                since: None,
                alarm,
            };
            writer.write(&Bytes::from_static(b"abc")).unwrap();
            if is_whole {
                writer.close();
            }
            drop(writer);

            assert!(matches!(arriving.next().now_or_never(), Some(Some(Ok(bytes))) if bytes == "abc"));
            assert_eq!(arriving.next().now_or_never().map(|end| end.is_none()), is_whole.then_some(true));
        }
    }
}
