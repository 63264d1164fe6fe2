//! Counts the jobs of a handler by client address, so one address cannot take all of its slots.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use tokio::sync::{Mutex, MutexGuard, Notify};

/// The number of hashes of addresses. Two addresses with the same hash count as one, which matters only while
/// others wait. The hash has a random key for each handler, so a client cannot choose a collision.
const HASHES: usize = 256;

/// Counts the jobs of one handler by the addresses of their clients. Costs nothing until the handler gets its first
/// request.
#[derive(Debug, Default)]
pub struct JobsPerClient(OnceLock<Box<PeerCounts>>);

#[derive(Debug)]
struct PeerCounts {
    /// A random key. SipHash takes ten times as long, and its strength is of no use here: a client with a few thousand
    /// addresses has some of each hash.
    key: SeedableRandomState,
    of: [PeerCount; HASHES],
    /// Notified when an address at its maximum releases a slot.
    given_back: Notify,
}

/// Hashes an address under a key.
fn hashed(key: &SeedableRandomState, origin: IpAddr) -> usize {
    let address = match origin {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    key.hash_one(address) as usize % HASHES
}

/// The jobs of one hash, and how many of them have a slot.
#[derive(Debug, Default)]
struct PeerCount {
    jobs: AtomicUsize,
    slots: AtomicUsize,
    /// Held by the job that waits for a slot on behalf of its address.
    turn: Mutex<()>,
}

/// A job that counts for its address until this is dropped.
#[derive(Debug)]
pub struct PeerGuard {
    peers: Arc<JobsPerClient>,
    /// The hash of its address, which is hashed once. `None` if it has no address.
    hash: Option<usize>,
    /// The maximum number of slots of its address.
    max: usize,
    has_slot: bool,
}

impl JobsPerClient {
    /// Counts a job for its address, which may have `max` slots. A Unix client has no address (`None`) and is not
    /// counted.
    pub fn enter(self: &Arc<Self>, origin: Option<IpAddr>, max: usize) -> PeerGuard {
        let hash = origin.map(|origin| self.hash(origin));
        if let Some(hash) = hash {
            self.counts().of[hash].jobs.fetch_add(1, Ordering::Relaxed);
        }
        PeerGuard { peers: self.clone(), hash, max, has_slot: false }
    }

    /// Returns the number of jobs of an address, including those that wait for a slot.
    pub fn count(&self, origin: IpAddr) -> usize {
        self.of(origin).jobs.load(Ordering::Relaxed)
    }

    /// Waits until no other job of this address waits on its behalf, in order of arrival.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue.
    pub async fn turn(&self, origin: IpAddr) -> MutexGuard<'_, ()> {
        self.of(origin).turn.lock().await
    }

    /// Returns the number of slots of an address.
    pub fn running(&self, origin: IpAddr) -> usize {
        self.of(origin).slots.load(Ordering::Relaxed)
    }

    fn counts(&self) -> &PeerCounts {
        self.0.get_or_init(|| {
            let of = std::array::from_fn(|_| PeerCount::default());
            // Random by the kernel: the seeds of foldhash come from addresses and the clock.
            let random = RandomState::new().build_hasher().finish();
            let key = SeedableRandomState::with_seed(random, SharedSeed::global_random());
            Box::new(PeerCounts { key, of, given_back: Notify::new() })
        })
    }

    fn hash(&self, origin: IpAddr) -> usize {
        hashed(&self.counts().key, origin)
    }

    fn of(&self, origin: IpAddr) -> &PeerCount {
        &self.counts().of[self.hash(origin)]
    }
}

impl PeerGuard {
    /// Returns the counts of the job's address, if it has one.
    fn counts(&self) -> Option<&PeerCount> {
        self.hash.map(|hash| &self.peers.counts().of[hash])
    }

    /// Counts a slot for the job. Returns `false` if its address is at its maximum.
    pub fn take_slot(&mut self) -> bool {
        let Some(counts) = self.counts().filter(|_| !self.has_slot) else { return true };
        let more = |slots| Some(slots + 1).filter(|slots| *slots <= self.max);
        self.has_slot = counts.slots.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.has_slot
    }

    /// Counts a slot that the job has, even if its address exceeds its maximum.
    pub fn has_slot(&mut self) {
        if !std::mem::replace(&mut self.has_slot, true)
            && let Some(counts) = self.counts()
        {
            counts.slots.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the address may have one more slot, and counts it. Jobs of several addresses may wait here.
    ///
    /// # Cancel safety
    /// Nothing is counted before the future is ready.
    pub async fn slot(&mut self) {
        let peers = self.peers.clone();
        loop {
            // Created before the check, so a slot that is released in between is not missed.
            let given_back = peers.counts().given_back.notified();
            if self.take_slot() {
                return;
            }
            given_back.await;
        }
    }

    /// Releases the slot.
    pub fn leave_slot(&mut self) {
        if std::mem::take(&mut self.has_slot)
            && let Some(counts) = self.counts()
            && counts.slots.fetch_sub(1, Ordering::Relaxed) >= self.max
        {
            // All waiters are notified: some wait for slots of other addresses.
            self.peers.counts().given_back.notify_waiters();
        }
    }

    /// Reports whether the address of the job has more jobs than `share`.
    pub fn is_beyond(&self, share: usize) -> bool {
        self.counts().is_some_and(|counts| counts.jobs.load(Ordering::Relaxed) > share)
    }
}

impl Drop for PeerGuard {
    fn drop(&mut self) {
        self.leave_slot();
        if let Some(counts) = self.counts() {
            counts.jobs.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// The deadline of each wait.
    const PATIENCE: Duration = Duration::from_secs(60);

    const ONE: &str = "192.0.2.1";

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn jobs_are_counted_by_address_as_long_as_they_are_there() {
        let peers = Arc::new(JobsPerClient::default());
        let jobs: Vec<PeerGuard> = (0..3).map(|_| peers.enter(address(ONE), 9)).collect();
        let nobody = peers.enter(None, 9);

        assert!(jobs[0].is_beyond(2) && !jobs[0].is_beyond(3) && !nobody.is_beyond(0));
        drop(jobs);
        assert_eq!(peers.count(ONE.parse().unwrap()), 0);
    }

    #[test]
    fn the_addresses_of_a_network_have_many_hashes() {
        // A random function has 162 values.
        let key = SeedableRandomState::fixed();
        for network in ["192.0.2.", "2001:db8::", "2001:db8:1:2::1:"] {
            let addresses = (0..HASHES).map(|last| format!("{network}{last}").parse().unwrap());

            let hashes: BTreeSet<_> = addresses.map(|origin| hashed(&key, origin)).collect();

            assert!(hashes.len() > 140, "{} hashes of {network}", hashes.len());
        }
    }

    #[test]
    fn jobs_in_line_have_no_slots() {
        let peers = Arc::new(JobsPerClient::default());
        let one = ONE.parse().unwrap();
        let (mut first, second) = (peers.enter(Some(one), 9), peers.enter(Some(one), 9));

        assert!(first.take_slot() && first.take_slot());

        assert_eq!((peers.count(one), peers.running(one)), (2, 1));
        drop(second);
        assert_eq!((peers.count(one), peers.running(one)), (1, 1));
        drop(first);
        assert_eq!((peers.count(one), peers.running(one)), (0, 0));
    }

    #[tokio::test]
    async fn an_address_that_has_all_it_may_waits_for_a_slot_of_its_own() {
        let peers = Arc::new(JobsPerClient::default());
        let mut jobs: Vec<PeerGuard> = (0..3).map(|_| peers.enter(address(ONE), 2)).collect();
        let mut nobody = peers.enter(None, 2);
        let taken: Vec<bool> = jobs.iter_mut().map(PeerGuard::take_slot).collect();
        assert_eq!(taken, [true, true, false]);
        assert!(nobody.take_slot());

        let mut last = jobs.pop().unwrap();
        let waiting = tokio::spawn(async move {
            last.slot().await;
            last
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(jobs.pop());

        let last = timeout(PATIENCE, waiting).await.unwrap().unwrap();
        assert_eq!((jobs.len(), last.has_slot), (1, true));
    }

    #[tokio::test]
    async fn a_slot_that_is_given_back_wakes_the_job_of_its_address_behind_those_of_others() {
        let peers = Arc::new(JobsPerClient::default());
        // The addresses have more than one hash, whatever the key.
        let addresses: Vec<IpAddr> = (1..9).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        let mut holders: Vec<PeerGuard> =
            addresses.iter().map(|origin| peers.enter(Some(*origin), 1)).collect();
        holders.iter_mut().for_each(PeerGuard::has_slot);
        let waiting = addresses.iter().map(|origin| {
            let mut job = peers.enter(Some(*origin), 1);
            tokio::spawn(async move { job.slot().await })
        });
        let waiting: Vec<_> = waiting.collect();
        tokio::task::yield_now().await;

        drop(holders);

        for waiting in waiting {
            timeout(PATIENCE, waiting).await.unwrap().unwrap();
        }
    }
}
