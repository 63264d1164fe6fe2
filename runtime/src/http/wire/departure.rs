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

/// The side that tells a connection to leave.
pub(in crate::http) struct DepartureWriter<'m>(&'m Departure);

impl Departure {
    /// Returns the side that tells it to leave.
    pub(in crate::http) fn writer(&self) -> DepartureWriter<'_> {
        DepartureWriter(self)
    }

    /// Reports whether the next response is the last one.
    pub(in crate::http) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Waits until the connection is asked to leave.
    ///
    /// # Cancel safety
    /// A dropped wait loses nothing.
    pub(in crate::http) async fn room_wanted(&self) {
        self.room.notified().await;
    }
}

impl DepartureWriter<'_> {
    /// Notes that the next response is the last one.
    pub(in crate::http) fn leave(&self) {
        self.0.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Asks the connection to leave, although it may have done nothing wrong.
    pub(in crate::http) fn make_room(&self) {
        self.0.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_connection_that_is_asked_before_it_waits_leaves_all_the_same() {
        type Event = fn(&Departure);
        let leave: Event = |departure| departure.writer().leave();
        let make_room: Event = |departure| departure.writer().make_room();
        // Behind the events: whether the connection is asked to leave, and whether its next response is the last.
        for (events, is_asked, is_leaving) in [
            (&[][..], false, false),
            (&[make_room], true, false),
            (&[make_room, make_room], true, false),
            (&[leave], false, true),
            (&[leave, make_room], true, true),
        ] {
            let departure = Departure::default();

            events.iter().for_each(|event| event(&departure));

            let asked = departure.room_wanted().now_or_never().is_some();
            assert_eq!((asked, departure.is_leaving()), (is_asked, is_leaving), "{}", events.len());
            assert!(departure.room_wanted().now_or_never().is_none(), "asked once");
        }
    }
}
