//! Counts how much of a response was handed over, and how much the client has taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

use crate::job::OutputReader;

/// Counts the bytes of an HTTP/1 connection, or of one HTTP/2 stream.
#[derive(Debug, Default)]
pub(in crate::http) struct Delivery {
    /// Bytes of responses that were handed over.
    handed: AtomicU64,
    /// Twice the number of pieces that were handed over, less 1 while another piece is wanted.
    pieces: AtomicU64,
    /// How many bytes the peer had taken when a write last waited for it.
    seen: AtomicU64,
    /// The sum of what the peer took between such moments, divided each time by the streams in progress.
    taken: AtomicU64,
    /// The count of the stream's connection; `None` for a connection.
    connection: Option<Arc<Delivery>>,
    /// Whether the job behind the response has lost its slot to others.
    is_over: AtomicBool,
    /// Wakes the task that waits for the client.
    waiting: AtomicWaker,
}

/// The side that hands responses over, and sees what the client takes.
pub(in crate::http) struct DeliveryWriter<'m>(&'m Delivery);

impl Delivery {
    /// Makes the count of a stream of this connection, or with `None` that of a connection.
    pub(in crate::http) fn within(connection: Option<Arc<Delivery>>) -> Arc<Delivery> {
        Arc::new(Delivery { connection, ..Delivery::default() })
    }

    /// Returns the side that hands responses over.
    pub(in crate::http) fn writer(&self) -> DeliveryWriter<'_> {
        DeliveryWriter(self)
    }

    /// Reports whether the job has lost its slot, and otherwise wakes this task when it does. Waiting for the
    /// client is then pointless.
    pub(in crate::http) fn is_over(&self, context: &Context<'_>) -> bool {
        self.waiting.register(context.waker());
        self.is_over.load(Ordering::Acquire)
    }

    /// Returns which piece the peer has yet to take, as a number that changes with each piece. Returns
    /// `None` if the peer is not the slow side.
    pub(in crate::http) fn untaken(&self) -> Option<u64> {
        Some(self.pieces.load(Ordering::Relaxed)).filter(|pieces| *pieces > 0 && pieces % 2 == 0)
    }

    /// Returns how many bytes of responses were handed over.
    pub(in crate::http) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Relaxed)
    }
}

impl DeliveryWriter<'_> {
    /// Notes that another response begins.
    pub(super) fn begin(&self) {
        self.0.is_over.store(false, Ordering::Relaxed);
    }

    /// Notes that a piece of the response was handed over: the head, or this many bytes of the body.
    pub(in crate::http) fn hand(&self, bytes: usize) {
        self.0.handed.fetch_add(bytes as u64, Ordering::Relaxed);
        let pieces = self.0.pieces.load(Ordering::Relaxed);
        self.0.pieces.store((pieces | 1) + 1, Ordering::Relaxed);
    }

    /// Notes that another piece is wanted, and none is there yet.
    pub(in crate::http) fn want(&self) {
        let pieces = self.0.pieces.load(Ordering::Relaxed);
        self.0.pieces.store(pieces | 1, Ordering::Relaxed);
    }

    /// Notes how many bytes the peer has taken in all, while a write waits for it. `streams` streams share
    /// them.
    pub(super) fn take(&self, bytes: u64, streams: usize) {
        let more = bytes.saturating_sub(self.0.seen.swap(bytes, Ordering::Relaxed));
        self.0.taken.fetch_add(more / streams.max(1) as u64, Ordering::Relaxed);
    }
}

impl OutputReader for Delivery {
    fn give_up(&self) {
        self.is_over.store(true, Ordering::Release);
        self.waiting.wake();
    }

    fn taken(&self) -> u64 {
        match &self.connection {
            // Bytes that were handed over may stay in a kernel buffer of several MiB, so they do not count.
            None => self.taken.load(Ordering::Relaxed),
            // h2 takes bytes from a stream only within the window that the client has opened, as long as the
            // connection has room.
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

        stream.writer().hand(10);
        connection.writer().take(1000, 4);
        connection.writer().take(1400, 4);

        assert_eq!((stream.taken(), stream.handed()), (10 + 350, 10));
    }

    #[test]
    fn the_peer_is_the_slow_side_between_a_piece_and_the_wish_for_another() {
        type Event = fn(&Delivery);
        let hand: Event = |delivery| delivery.writer().hand(1);
        let want: Event = |delivery| delivery.writer().want();
        // The piece that is untaken behind the events.
        for (events, untaken) in [
            (&[][..], None),
            (&[want], None),
            (&[hand], Some(2)),
            (&[want, hand], Some(2)),
            (&[hand, hand], Some(4)),
            (&[hand, want], None),
            (&[hand, want, want], None),
            (&[hand, want, hand], Some(4)),
        ] {
            let delivery = Delivery::within(None);

            events.iter().for_each(|event| event(&delivery));

            assert_eq!(delivery.untaken(), untaken, "{} events", events.len());
        }
    }

    #[test]
    fn what_a_buffer_takes_of_an_answer_is_not_taken_by_its_client() {
        let connection = Delivery::within(None);

        connection.writer().hand(1 << 20);
        connection.writer().take(1000, 0);

        assert_eq!((connection.taken(), connection.handed()), (1000, 1 << 20));
    }
}
