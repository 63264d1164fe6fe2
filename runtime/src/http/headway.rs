//! What a client has taken of an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::job::Taker;

/// The bytes that a client of a connection of HTTP/1, or of one stream of HTTP/2, has moved on.
#[derive(Debug, Default)]
pub(super) struct Headway {
    /// Bytes of the response that were handed over.
    handed: AtomicU64,
    /// Bytes that the peer had taken when a write waited for it last.
    seen: AtomicU64,
    /// The sum of what it took from one such moment to the next, for each of the streams under way.
    taken: AtomicU64,
    /// That of the connection of a stream.
    connection: Option<Arc<Headway>>,
}

impl Headway {
    /// That of a stream of this connection, or of a connection.
    pub(super) fn within(connection: Option<Arc<Headway>>) -> Arc<Headway> {
        Arc::new(Headway { connection, ..Headway::default() })
    }

    /// Notes that so many bytes were handed over.
    pub(super) fn hand(&self, bytes: usize) {
        self.handed.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Says how many bytes of the response were handed over.
    pub(super) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }

    /// Notes how many bytes the peer has taken so far, while a write waits for it. So many streams share them.
    pub(super) fn take(&self, bytes: u64, streams: usize) {
        let more = bytes.saturating_sub(self.seen.swap(bytes, Ordering::Relaxed));
        self.taken.fetch_add(more / streams.max(1) as u64, Ordering::Relaxed);
    }
}

impl Taker for Headway {
    fn taken(&self) -> u64 {
        let held_up =
            self.connection.as_ref().map_or(0, |connection| connection.taken.load(Ordering::Relaxed));
        self.handed() + self.taken.load(Ordering::Relaxed) + held_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_share_what_their_connection_takes_while_it_is_held_up() {
        let connection = Headway::within(None);
        let stream = Headway::within(Some(connection.clone()));

        stream.hand(10);
        connection.take(1000, 4);
        connection.take(1400, 4);

        assert_eq!((stream.taken(), stream.handed()), (10 + 350, 10));
    }
}
