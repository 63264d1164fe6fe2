//! The limit of concurrent TLS handshakes, and the outcomes of past ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::net::FailureKind;

/// The handshakes in progress, the oldest first. One too many evicts the oldest: a real client is done
/// in a moment, and a client that only holds a slot has held it longest.
#[derive(Debug, Default)]
pub struct Handshakes {
    line: Mutex<HandshakeQueue>,
    ended: [AtomicU64; HandshakeEnd::ALL.len()],
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum HandshakeEnd {
    /// The connection is encrypted.
    Complete,
    /// The client does not speak TLS.
    NotTls,
    /// The two sides could not agree, or one of them broke off.
    Failed(FailureKind),
    /// The client took too long.
    Late,
    /// The slot was given to another handshake.
    PushedOut,
    /// The listener was closed.
    Closed,
}

impl HandshakeEnd {
    /// All outcomes, in the order of [`position`](HandshakeEnd::position).
    const ALL: [HandshakeEnd; 11] = [
        HandshakeEnd::Complete,
        HandshakeEnd::NotTls,
        HandshakeEnd::Failed(FailureKind::ClientCertificate),
        HandshakeEnd::Failed(FailureKind::Alert),
        HandshakeEnd::Failed(FailureKind::Incompatible),
        HandshakeEnd::Failed(FailureKind::Malformed),
        HandshakeEnd::Failed(FailureKind::Left),
        HandshakeEnd::Failed(FailureKind::Internal),
        HandshakeEnd::Late,
        HandshakeEnd::PushedOut,
        HandshakeEnd::Closed,
    ];

    fn position(self) -> usize {
        HandshakeEnd::ALL.iter().position(|end| *end == self).unwrap_or_default()
    }

    /// Returns the label of the metric.
    fn name(self) -> &'static str {
        match self {
            HandshakeEnd::Complete => "ok",
            HandshakeEnd::NotTls => "not_tls",
            HandshakeEnd::Failed(FailureKind::ClientCertificate) => "client_certificate",
            HandshakeEnd::Failed(FailureKind::Alert) => "alert",
            HandshakeEnd::Failed(FailureKind::Incompatible) => "incompatible",
            HandshakeEnd::Failed(FailureKind::Malformed) => "malformed",
            HandshakeEnd::Failed(FailureKind::Left) => "left",
            HandshakeEnd::Failed(FailureKind::Internal) => "internal",
            HandshakeEnd::Late => "late",
            HandshakeEnd::PushedOut => "pushed_out",
            HandshakeEnd::Closed => "closed",
        }
    }
}

#[derive(Debug, Default)]
struct HandshakeQueue {
    next: u64,
    /// The senders by number. Dropping one tells its slot that it is lost.
    under_way: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A slot of the queue. Dropping it returns it.
#[derive(Debug)]
pub(in crate::http) struct HandshakeSlot {
    handshakes: Arc<Handshakes>,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl Handshakes {
    /// Takes one of `most` slots. If none is free, evicts the oldest handshake.
    pub(in crate::http) fn begin(self: &Arc<Handshakes>, most: usize) -> HandshakeSlot {
        let (held, lost) = oneshot::channel();
        let mut line = self.line();
        let number = line.next;
        line.next += 1;
        line.under_way.insert(number, held);
        // More than one goes if a reload has lowered the limit.
        while line.under_way.len() > most.max(1) {
            line.under_way.pop_first();
        }
        drop(line);
        HandshakeSlot { handshakes: self.clone(), number, lost }
    }

    /// Returns how many handshakes are in progress.
    pub(in crate::http) fn under_way(&self) -> usize {
        self.line().under_way.len()
    }

    /// Returns each outcome with how many handshakes have ended so.
    pub(in crate::http) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        HandshakeEnd::ALL
            .into_iter()
            .zip(&self.ended)
            .map(|(end, count)| (end.name(), count.load(Ordering::Relaxed)))
    }

    fn line(&self) -> MutexGuard<'_, HandshakeQueue> {
        // A poisoned lock is harmless: a map and a counter are consistent after every statement.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HandshakeSlot {
    /// Returns the slot, and counts the outcome of the handshake.
    pub(in crate::http) fn end(self, end: HandshakeEnd) {
        self.handshakes.ended[end.position()].fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the slot is given to another handshake.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub(in crate::http) async fn pushed_out(&mut self) {
        // Nothing is sent; the sender is only dropped.
        let _gone = (&mut self.lost).await;
    }
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        self.handshakes.line().under_way.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn the_oldest_is_pushed_out_and_a_place_that_is_given_up_is_free() {
        let handshakes = Arc::<Handshakes>::default();
        let [mut first, mut second] = [handshakes.begin(2), handshakes.begin(2)];

        let mut third = handshakes.begin(2);

        assert!(first.pushed_out().now_or_never().is_some());
        assert!(second.pushed_out().now_or_never().is_none());
        drop((first, second));
        let _fourth = handshakes.begin(2);
        assert!(third.pushed_out().now_or_never().is_none());
    }
    #[test]
    fn every_end_is_counted_under_a_name_of_its_own() {
        let handshakes = Arc::<Handshakes>::default();

        for end in HandshakeEnd::ALL {
            handshakes.begin(1).end(end);
        }

        let counts: BTreeMap<_, _> = handshakes.counts().collect();
        assert_eq!(counts.len(), HandshakeEnd::ALL.len());
        assert!(counts.values().all(|count| *count == 1) && handshakes.under_way() == 0, "{counts:?}");
    }
}
