//! How a connection is told to leave.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells a connection to leave. Both requests are one-way.
#[derive(Default)]
pub(in crate::http) struct Departure {
    /// Whether the next response is the last.
    is_leaving: AtomicBool,
    /// Signals that the connection should leave, to make room for another.
    room: Notify,
}

impl Departure {
    /// Notes that the next response is the last one.
    pub(in crate::http) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Reports whether the next response is the last one.
    pub(in crate::http) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Asks the connection to leave, although it may have done nothing wrong.
    pub(in crate::http) fn make_room(&self) {
        self.room.notify_one();
    }

    /// Waits until the connection is asked to leave.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub(in crate::http) async fn room_wanted(&self) {
        self.room.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_connection_that_is_asked_before_it_waits_leaves_all_the_same() {
        let departure = Departure::default();
        assert!(departure.room_wanted().now_or_never().is_none() && !departure.is_leaving());

        departure.make_room();

        assert!(departure.room_wanted().now_or_never().is_some() && !departure.is_leaving());
        departure.leave();
        assert!(departure.is_leaving() && departure.room_wanted().now_or_never().is_none());
    }
}
