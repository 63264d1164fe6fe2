//! How many jobs of a handler each address has, so that one address cannot have all of its slots.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Addresses are told apart by as many hashes. Two that meet in one count as one, which is nobody's loss
/// until others wait, and nobody's choice: the hash is keyed anew for each handler.
const HASHES: usize = 256;

/// Counts the jobs of one handler by the addresses of their clients. An address that never asked costs
/// nothing, and neither does a handler that nobody asked.
#[derive(Debug, Default)]
pub struct Peers(OnceLock<Box<Counts>>);

#[derive(Debug)]
struct Counts {
    key: RandomState,
    jobs: [AtomicU32; HASHES],
}

/// A job that is counted for its address until this is dropped.
#[derive(Debug)]
pub struct Counted {
    peers: Arc<Peers>,
    origin: Option<IpAddr>,
}

impl Peers {
    /// Counts a job for its address; `None`, which a Unix client has, is not counted.
    pub fn enter(self: &Arc<Self>, origin: Option<IpAddr>) -> Counted {
        if let Some(origin) = origin {
            self.of(origin).fetch_add(1, Ordering::Relaxed);
        }
        Counted { peers: self.clone(), origin }
    }

    /// Says how many jobs an address has, those that wait among them.
    pub fn count(&self, origin: IpAddr) -> usize {
        usize::try_from(self.of(origin).load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    fn of(&self, origin: IpAddr) -> &AtomicU32 {
        let counts = self.0.get_or_init(|| {
            Box::new(Counts { key: RandomState::new(), jobs: std::array::from_fn(|_| AtomicU32::new(0)) })
        });
        let hash = usize::try_from(counts.key.hash_one(origin) % HASHES as u64).unwrap_or_default();
        &counts.jobs[hash]
    }
}

impl Counted {
    /// Reports whether the address of the job has more jobs than this.
    pub fn is_beyond(&self, share: usize) -> bool {
        self.origin.is_some_and(|origin| self.peers.count(origin) > share)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(origin) = self.origin {
            self.peers.of(origin).fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_counted_by_address_until_they_are_over_and_those_of_no_address_never() {
        let peers = Arc::new(Peers::default());
        let one: IpAddr = "192.0.2.1".parse().unwrap();

        let unix = [peers.enter(None), peers.enter(None)];
        assert!(peers.0.get().is_none() && !unix[1].is_beyond(0));
        let jobs = [peers.enter(Some(one)), peers.enter(Some(one))];

        assert!(jobs[0].is_beyond(1) && !jobs[0].is_beyond(2));
        drop(jobs);
        assert_eq!(peers.count(one), 0);
    }
}
