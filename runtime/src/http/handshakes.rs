//! The TLS handshakes that are under way: so many and no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Handshakes under way, the oldest first. One too many pushes out the oldest: a client that means it is
/// done in a moment, and those that only hold a place have had it longest.
#[derive(Debug, Default)]
pub struct Handshakes(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// By when they began. Dropping an end tells its turn to give up.
    under_way: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place in the line. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Turn {
    handshakes: Arc<Handshakes>,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl Handshakes {
    /// Takes a place, of `most` at once, from whoever has had one longest if need be.
    pub(super) fn begin(self: &Arc<Handshakes>, most: usize) -> Turn {
        let (held, lost) = oneshot::channel();
        let mut line = self.line();
        let number = line.next;
        line.next += 1;
        line.under_way.insert(number, held);
        // More than one, where a reload has made the line shorter.
        while line.under_way.len() > most.max(1) {
            line.under_way.pop_first();
        }
        drop(line);
        Turn { handshakes: self.clone(), number, lost }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // A map and a counter, whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits until somebody else has taken the place.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub(super) async fn pushed_out(&mut self) {
        // Nothing is ever sent.
        let _gone = (&mut self.lost).await;
    }
}

impl Drop for Turn {
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
}
