//! Whether a close would end a response body that only the close delimits (RFC 9112 §6.3).

use std::sync::atomic::{AtomicU8, Ordering};

/// What a close of the connection would mean. For most connections it means nothing: their responses have a
/// length or chunks.
#[derive(Default)]
pub(in crate::http) struct CloseDelimited(AtomicU8);

/// What a close would mean now.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum CloseMeaning {
    Nothing = 0,
    /// A close-delimited body is being sent; closing now would truncate it silently.
    Early,
    /// The close-delimited body is complete; a close ends it.
    Due,
    /// The response broke off; a close would make it look whole.
    Wrong,
}

/// The side that reports how far the body is.
pub(in crate::http) struct CloseDelimitedWriter<'m>(&'m CloseDelimited);

impl CloseDelimited {
    /// Returns the side that reports how far the body is.
    pub(in crate::http) fn writer(&self) -> CloseDelimitedWriter<'_> {
        CloseDelimitedWriter(self)
    }

    /// Reports whether our end may be shut (FIN, or close_notify of TLS).
    pub(in crate::http) fn may_close(&self) -> bool {
        self.means(CloseMeaning::Nothing) || self.means(CloseMeaning::Due)
    }

    /// Reports whether the socket may be dropped without a reset.
    pub(in crate::http) fn may_fin(&self) -> bool {
        self.means(CloseMeaning::Nothing)
    }

    fn means(&self, meaning: CloseMeaning) -> bool {
        self.0.load(Ordering::Relaxed) == meaning as u8
    }
}

impl CloseDelimitedWriter<'_> {
    /// Notes that a close-delimited body begins.
    pub(in crate::http) fn started(&self) {
        self.0.0.store(CloseMeaning::Early as u8, Ordering::Relaxed);
    }

    /// Notes that all of the body was handed over.
    pub(in crate::http) fn complete(&self) {
        self.pass(CloseMeaning::Early, CloseMeaning::Due);
    }

    /// Notes that the response broke off.
    pub(in crate::http) fn failed(&self) {
        self.0.0.store(CloseMeaning::Wrong as u8, Ordering::Relaxed);
    }

    /// Notes that our end was shut after the last byte.
    pub(super) fn closed(&self) {
        self.pass(CloseMeaning::Due, CloseMeaning::Nothing);
    }

    /// Passes from one meaning to another. Any other meaning stays.
    fn pass(&self, from: CloseMeaning, to: CloseMeaning) {
        let _other = self.0.0.compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_leads_to_its_meaning() {
        use CloseMeaning::{Due, Early, Nothing, Wrong};

        type Event = fn(&CloseDelimited);
        let events: [(&str, Event); 4] = [
            ("started", |close| close.writer().started()),
            ("complete", |close| close.writer().complete()),
            ("closed", |close| close.writer().closed()),
            ("failed", |close| close.writer().failed()),
        ];
        // Whether our end may be shut and the socket be dropped, and in the order of the events: the meaning that each
        // leads to.
        for (meaning, may, next) in [
            (Nothing, (true, true), [Early, Nothing, Nothing, Wrong]),
            (Early, (false, false), [Early, Due, Early, Wrong]),
            (Due, (true, false), [Early, Due, Nothing, Wrong]),
            // What has gone wrong stays so until the next response.
            (Wrong, (false, false), [Early, Wrong, Wrong, Wrong]),
        ] {
            for ((event, apply), next) in events.iter().zip(next) {
                let close = CloseDelimited(AtomicU8::new(meaning as u8));
                assert_eq!((close.may_close(), close.may_fin()), may, "{meaning:?}");

                apply(&close);

                assert!(close.means(next), "{meaning:?} {event}");
            }
        }
        assert!(CloseDelimited::default().means(Nothing));
    }
}
