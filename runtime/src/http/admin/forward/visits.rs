//! The connections to the port of the dashboard, and which of them makes room for another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections at once. A browser opens 6 to one address.
const MOST: usize = 64;

/// The connections that are open.
#[derive(Default)]
pub(super) struct Visits(Mutex<OpenVisits>);

#[derive(Default)]
struct OpenVisits {
    /// The next number.
    next: u64,
    /// The connections by number, so that the oldest comes first.
    open: BTreeMap<u64, VisitState>,
}

struct VisitState {
    /// Whether one of its requests had the token of a session.
    has_session: bool,
    /// Notified when the connection has to make room.
    leave: Arc<Notify>,
}

/// One connection. Dropping it makes room for another.
pub(super) struct Visit {
    visits: Arc<Visits>,
    number: u64,
    leave: Arc<Notify>,
}

impl Visits {
    /// Counts a connection. At the limit, the oldest connection without a session makes room: every user of the machine can
    /// connect, and none may keep the operator out. Returns `None` if all connections have a session.
    pub(super) fn enter(self: &Arc<Visits>) -> Option<Visit> {
        let mut visits = self.visits();
        if visits.open.len() >= MOST {
            let oldest = visits.open.iter().find(|(_, visit)| !visit.has_session);
            let oldest = oldest.map(|(number, _)| *number)?;
            if let Some(visit) = visits.open.remove(&oldest) {
                visit.leave.notify_one();
            }
        }
        let (number, leave) = (visits.next, Arc::new(Notify::new()));
        visits.next += 1;
        visits.open.insert(number, VisitState { has_session: false, leave: leave.clone() });
        drop(visits);
        Some(Visit { visits: self.clone(), number, leave })
    }

    fn visits(&self) -> MutexGuard<'_, OpenVisits> {
        // A poisoned lock is harmless: the value is consistent after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    /// Notes that a request had the token of a session. From now on the connection makes no room.
    pub(super) fn has_session(&self) {
        if let Some(visit) = self.visits.visits().open.get_mut(&self.number) {
            visit.has_session = true;
        }
    }

    /// Waits until the connection has to make room.
    pub(super) async fn left(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.visits.visits().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn the_oldest_without_a_session_makes_room_and_those_with_one_do_not() {
        let visits = Arc::new(Visits::default());
        let open: Vec<_> = (0..MOST).filter_map(|_| visits.enter()).collect();
        open[0].has_session();

        let next = visits.enter();

        assert_eq!(open.len(), MOST);
        assert!(next.is_some());
        assert_eq!(
            [0, 1, 2].map(|place: usize| open[place].left().now_or_never().is_some()),
            [false, true, false]
        );
        open[2..].iter().chain(&next).for_each(Visit::has_session);
        assert!(visits.enter().is_none(), "all have a session");
        drop(open);
        assert!(visits.enter().is_some());
    }
}
