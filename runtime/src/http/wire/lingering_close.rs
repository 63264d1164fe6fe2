//! The lingering close: what the peer still sends is dropped for a while, after our end was shut.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::progress::Progress;
use crate::http::timeouts::{LINGERING_CLOSE, LINGERING_CLOSE_DRAIN};

/// How many bytes a peer may send meanwhile.
const LINGER_BYTES: usize = 256 << 20;

/// Drops what the peer sends until the peer ends or its time is over. Closing with unread bytes resets the connection,
/// and the peer may then lose the response (RFC 9112 §9.6).
#[derive(Default)]
pub(super) struct LingeringClose {
    /// The time left, or `None` before our end is shut.
    time: Option<Pin<Box<Sleep>>>,
    /// Bytes that were dropped.
    dropped: usize,
}

impl LingeringClose {
    /// Notes that our end is shut and the peer's is not.
    pub(super) fn begin(&mut self, progress: &Progress) {
        let is_leaving = progress.departure.is_leaving();
        self.time = Some(Box::pin(sleep(if is_leaving { LINGERING_CLOSE_DRAIN } else { LINGERING_CLOSE })));
    }

    /// Reports whether our end is shut.
    pub(super) fn has_begun(&self) -> bool {
        self.time.is_some()
    }

    /// Waits for the end. A connection that is told to leave meanwhile has less time.
    pub(super) fn poll(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        progress: &Progress,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(time) = &mut self.time else { return Poll::Ready(()) };
        let latest = Instant::now() + LINGERING_CLOSE_DRAIN;
        if progress.departure.is_leaving() && time.deadline() > latest {
            time.as_mut().reset(latest);
        }
        if time.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut bytes = [0; 4 << 10];
        while self.dropped < LINGER_BYTES {
            let mut dropped = ReadBuf::new(&mut bytes);
            let outcome: io::Result<()> = ready!(Pin::new(&mut *stream).poll_read(context, &mut dropped));
            if outcome.is_err() || dropped.filled().is_empty() {
                break;
            }
            self.dropped += dropped.filled().len();
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;
    use crate::http::wire::client_memory::MemoryAccount;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_goes_on_sending_has_its_time_and_less_when_the_daemon_leaves() {
        for (is_leaving, limit) in [(false, LINGERING_CLOSE), (true, LINGERING_CLOSE_DRAIN)] {
            let (mut peer, mut stream) = duplex(64);
            let progress = Progress::new(MemoryAccount::unlimited());
            let (mut close, start) = (LingeringClose::default(), Instant::now());
            close.begin(&progress);
            peer.write_all(b"late").await.unwrap();
            if is_leaving {
                progress.departure.writer().leave();
            }

            poll_fn(|context| close.poll(&mut stream, &progress, context)).await;

            assert!(close.has_begun());
            assert_eq!((start.elapsed().as_secs(), close.dropped), (limit.as_secs(), 4));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_peer() {
        let (peer, mut stream) = duplex(64);
        let progress = Progress::new(MemoryAccount::unlimited());
        let mut close = LingeringClose::default();
        close.begin(&progress);
        drop(peer);
        let start = Instant::now();

        poll_fn(|context| close.poll(&mut stream, &progress, context)).await;

        assert_eq!(start.elapsed().as_millis(), 0);
    }
}
