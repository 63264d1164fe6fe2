//! The bytes of a response that a client has taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

use crate::job::Taker;

/// The bytes that a client of a connection of HTTP/1, or of one stream of HTTP/2, has moved on.
#[derive(Debug, Default)]
pub(in crate::http) struct Delivery {
    /// Bytes of the response that were handed over.
    handed: AtomicU64,
    /// Bytes that the peer had taken when a write waited for it last.
    seen: AtomicU64,
    /// The sum of what it took from one such moment to the next, for each of the streams under way.
    taken: AtomicU64,
    /// That of the connection of a stream.
    connection: Option<Arc<Delivery>>,
    /// Whether the job behind the answer has lost its slot to others.
    is_over: AtomicBool,
    /// What waits for the client to take something.
    waiting: AtomicWaker,
}

impl Delivery {
    /// That of a stream of this connection, or of a connection.
    pub(in crate::http) fn within(connection: Option<Arc<Delivery>>) -> Arc<Delivery> {
        Arc::new(Delivery { connection, ..Delivery::default() })
    }

    /// Notes that another answer begins.
    pub(in crate::http) fn begin(&self) {
        self.is_over.store(false, Ordering::Relaxed);
    }

    /// Reports whether the job has lost its slot, and has this task woken when it does: whatever waits for the client
    /// waits for nothing then.
    pub(in crate::http) fn is_over(&self, context: &Context<'_>) -> bool {
        self.waiting.register(context.waker());
        self.is_over.load(Ordering::Acquire)
    }

    /// Notes that so many bytes were handed over.
    pub(in crate::http) fn hand(&self, bytes: usize) {
        self.handed.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Says how many bytes of the response were handed over.
    pub(in crate::http) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }

    /// Notes how many bytes the peer has taken so far, while a write waits for it. So many streams share them.
    pub(in crate::http) fn take(&self, bytes: u64, streams: usize) {
        let more = bytes.saturating_sub(self.seen.swap(bytes, Ordering::Relaxed));
        self.taken.fetch_add(more / streams.max(1) as u64, Ordering::Relaxed);
    }
}

impl Taker for Delivery {
    fn give_up(&self) {
        self.is_over.store(true, Ordering::Release);
        self.waiting.wake();
    }

    fn taken(&self) -> u64 {
        match &self.connection {
            // What is handed over may stay in a buffer of the kernel, of several MiB.
            None => self.taken.load(Ordering::Relaxed),
            // h2 takes of a stream what the client has opened a window for, as long as the connection has room.
            Some(connection) => self.handed() + connection.taken.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_share_what_their_connection_takes_while_it_is_held_up() {
        let connection = Delivery::within(None);
        let stream = Delivery::within(Some(connection.clone()));

        stream.hand(10);
        connection.take(1000, 4);
        connection.take(1400, 4);

        assert_eq!((stream.taken(), stream.handed()), (10 + 350, 10));
    }

    #[test]
    fn what_a_buffer_takes_of_an_answer_is_not_taken_by_its_client() {
        let connection = Delivery::within(None);

        connection.hand(1 << 20);
        connection.take(1000, 0);

        assert_eq!((connection.taken(), connection.handed()), (1000, 1 << 20));
    }
}
