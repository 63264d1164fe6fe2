//! Places that clients take, with a bound for all and one for each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A fixed number of places. One address may take only a few of them. Never waits.
pub struct OriginPlaces {
    all: usize,
    per_origin: usize,
    taken: Mutex<TakenPlaces>,
}

/// The places that are taken. It holds no more addresses than there are places.
#[derive(Default)]
struct TakenPlaces {
    count: usize,
    by_origin: HashMap<Option<IpAddr>, usize>,
}

/// A place. Dropping it frees it.
pub struct OriginPlace {
    places: Arc<OriginPlaces>,
    origin: Option<IpAddr>,
}

impl OriginPlaces {
    /// Makes `all` places. One address may take `per_origin` of them.
    pub fn new(all: usize, per_origin: usize) -> Arc<OriginPlaces> {
        Arc::new(OriginPlaces { all, per_origin, taken: Mutex::default() })
    }

    /// Takes a place for a client; see [`Peer::origin`](crate::net::Peer::origin). Clients without an address count as
    /// one. Returns `None` if there is none left for it.
    pub fn take(self: &Arc<OriginPlaces>, origin: Option<IpAddr>) -> Option<OriginPlace> {
        let mut taken = self.taken();
        let own = taken.by_origin.get(&origin).copied().unwrap_or_default();
        if taken.count >= self.all || own >= self.per_origin {
            return None;
        }
        taken.count += 1;
        taken.by_origin.insert(origin, own + 1);
        drop(taken);
        Some(OriginPlace { places: self.clone(), origin })
    }

    fn taken(&self) -> MutexGuard<'_, TakenPlaces> {
        // A poisoned lock is harmless: at worst a place is lost.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OriginPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.count = taken.count.saturating_sub(1);
        if let Some(count) = taken.by_origin.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                taken.by_origin.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_its_share_and_all_have_what_there_is() {
        let places = OriginPlaces::new(5, 2);
        let from = |last: u8| places.take(Some(IpAddr::from([192, 0, 2, last])));

        let first = [from(1), from(1)];
        assert!(first.iter().all(Option::is_some) && from(1).is_none());
        let others = [from(2), places.take(None), from(3)];
        assert!(others.iter().all(Option::is_some) && from(4).is_none(), "all five are taken");
        drop(first);
        assert!(from(4).is_some() && from(1).is_some());
        drop(others);

        let taken = places.taken();
        assert_eq!((taken.count, taken.by_origin.len()), (0, 0));
    }
}
