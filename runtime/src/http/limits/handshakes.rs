//! The limit of concurrent TLS handshakes, and the outcomes of past ones.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::net::FailureKind;

/// The handshakes in progress, the oldest first. If there are too many, the oldest of the address with the most is
/// evicted. A real client is done in a moment; a client that only holds a slot has held it longest. No address
/// pushes out the handshakes of an address with fewer.
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
    /// The handshake was a validation by an ACME server.
    Validation,
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
    const ALL: [HandshakeEnd; 12] = [
        HandshakeEnd::Complete,
        HandshakeEnd::Validation,
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
            HandshakeEnd::Validation => "acme_validation",
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
    under_way: BTreeMap<u64, Handshake>,
    /// How many of them each address has. The key `None` stands for trusted proxies, which have no share.
    per_address: HashMap<Option<IpAddr>, usize>,
}

/// One address may have this part of the slots before its own handshakes make room.
const SHARE: usize = 8;

#[derive(Debug)]
struct Handshake {
    origin: Option<IpAddr>,
    /// Dropped to tell the slot that it is lost.
    _held: oneshot::Sender<()>,
}

impl HandshakeQueue {
    fn remove(&mut self, number: u64) {
        let Some(Handshake { origin, .. }) = self.under_way.remove(&number) else { return };
        if let Some(count) = self.per_address.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&origin);
            }
        }
    }

    /// Removes the oldest handshake of the address that has the most, if that address has more than a share of `max`.
    /// Otherwise removes the oldest of all: many silent addresses must not push out an address with a few clients.
    fn evict(&mut self, max: usize) {
        let shares = self.per_address.iter().filter(|(origin, _)| origin.is_some());
        let most = shares.map(|(_, count)| *count).max().unwrap_or_default();
        let is_flood = most > (max / SHARE).max(1);
        let has_most = |Handshake { origin, .. }: &Handshake| {
            !is_flood || origin.is_some() && self.per_address.get(origin) == Some(&most)
        };
        let oldest = self.under_way.iter().find(|(_, handshake)| has_most(handshake));
        if let Some(number) = oldest.map(|(number, _)| *number) {
            self.remove(number);
        }
    }
}

/// A slot of the queue. Dropping it returns it.
#[derive(Debug)]
pub(in crate::http) struct HandshakeSlot {
    handshakes: Arc<Handshakes>,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl Handshakes {
    /// Takes one of `max` slots for a client of this address. `None` stands for a trusted proxy, which has no share. If no
    /// slot is free, another handshake makes room.
    pub(in crate::http) fn begin(
        self: &Arc<Handshakes>,
        origin: Option<IpAddr>,
        max: usize,
    ) -> HandshakeSlot {
        let (held, lost) = oneshot::channel();
        let mut line = self.line();
        let number = line.next;
        line.next += 1;
        line.under_way.insert(number, Handshake { origin, _held: held });
        *line.per_address.entry(origin).or_default() += 1;
        // More than one goes if a reload has lowered the limit.
        while line.under_way.len() > max.max(1) {
            line.evict(max);
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
        self.handshakes.line().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn the_oldest_is_pushed_out_and_a_place_that_is_given_up_is_free() {
        let handshakes = Arc::<Handshakes>::default();
        let [mut first, mut second] = [handshakes.begin(None, 2), handshakes.begin(None, 2)];

        let mut third = handshakes.begin(None, 2);

        assert!(first.pushed_out().now_or_never().is_some());
        assert!(second.pushed_out().now_or_never().is_none());
        drop((first, second));
        let _fourth = handshakes.begin(None, 2);
        assert!(third.pushed_out().now_or_never().is_none());
    }

    #[test]
    fn an_address_that_floods_pushes_out_its_own_handshakes_alone() {
        let handshakes = Arc::<Handshakes>::default();
        let [flooding, quiet] = [1, 2].map(|last| Some(IpAddr::from([192, 0, 2, last])));
        let mut good = handshakes.begin(quiet, 4);
        let mut flood: Vec<_> = (0..1000).map(|_| handshakes.begin(flooding, 4)).collect();

        assert!(good.pushed_out().now_or_never().is_none());
        assert!(flood[996].pushed_out().now_or_never().is_some());
        assert!(flood[997..].iter_mut().all(|slot| slot.pushed_out().now_or_never().is_none()));
        // A newcomer gets in as well.
        let mut newcomer = handshakes.begin(Some(IpAddr::from([192, 0, 2, 3])), 4);
        assert!(newcomer.pushed_out().now_or_never().is_none());
        drop((good, flood, newcomer));

        // Of many addresses with one each and one with a few, the oldest goes.
        let single = |last| Some(IpAddr::from([192, 0, 2, last]));
        let mut many: Vec<_> = (1..=30).map(|last| handshakes.begin(single(last), 32)).collect();
        let mut few = [single(31), single(31)].map(|origin| handshakes.begin(origin, 32));
        let _newcomer = handshakes.begin(single(32), 32);
        assert!(few.iter_mut().all(|slot| slot.pushed_out().now_or_never().is_none()));
        assert!(many[0].pushed_out().now_or_never().is_some());
        drop((many, few, _newcomer));
        let line = handshakes.line();
        assert_eq!((line.under_way.len(), line.per_address.len()), (0, 0));
    }

    #[test]
    fn a_crowd_behind_a_trusted_proxy_is_no_flood_of_one_address() {
        let handshakes = Arc::<Handshakes>::default();
        let flooding = Some(IpAddr::from([192, 0, 2, 1]));
        let mut behind_proxy: Vec<_> = (0..28).map(|_| handshakes.begin(None, 32)).collect();
        let mut flood: Vec<_> = (0..5).map(|_| handshakes.begin(flooding, 32)).collect();

        assert!(behind_proxy.iter_mut().all(|slot| slot.pushed_out().now_or_never().is_none()));
        assert!(flood[0].pushed_out().now_or_never().is_some());
    }

    #[test]
    fn every_end_is_counted_under_a_name_of_its_own() {
        let handshakes = Arc::<Handshakes>::default();

        for end in HandshakeEnd::ALL {
            handshakes.begin(None, 1).end(end);
        }

        let counts: BTreeMap<_, _> = handshakes.counts().collect();
        assert_eq!(counts.len(), HandshakeEnd::ALL.len());
        assert!(counts.values().all(|count| *count == 1) && handshakes.under_way() == 0, "{counts:?}");
    }
}
