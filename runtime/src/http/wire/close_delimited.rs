//! Whether a close would end a response body that only the close delimits (RFC 9112 §6.3).

use std::sync::atomic::{AtomicU8, Ordering};

/// What a close of the connection would mean. For most connections it means nothing: their responses have a
/// length or chunks.
#[derive(Default)]
pub(in crate::http) struct CloseDelimited(AtomicU8);

/// A close means nothing.
const NOTHING: u8 = 0;
/// A close-delimited body is being sent; closing now would truncate it silently.
const EARLY: u8 = 1;
/// The close-delimited body is complete; a close ends it.
const DUE: u8 = 2;
/// The response broke off; a close would make it look whole.
const WRONG: u8 = 3;

impl CloseDelimited {
    /// Notes that a close-delimited body begins.
    pub(in crate::http) fn started(&self) {
        self.0.store(EARLY, Ordering::Relaxed);
    }

    /// Notes that all of the body was handed over.
    pub(in crate::http) fn complete(&self) {
        let _other = self.0.compare_exchange(EARLY, DUE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that the response broke off.
    pub(in crate::http) fn failed(&self) {
        self.0.store(WRONG, Ordering::Relaxed);
    }

    /// Notes that our end was shut after the last byte.
    pub(in crate::http) fn closed(&self) {
        let _other = self.0.compare_exchange(DUE, NOTHING, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Reports whether our end may be shut (FIN, or close_notify of TLS).
    pub(in crate::http) fn may_close(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), NOTHING | DUE)
    }

    /// Reports whether the socket may be dropped without a reset.
    pub(in crate::http) fn may_fin(&self) -> bool {
        self.0.load(Ordering::Relaxed) == NOTHING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_means_nothing_may_come_at_any_time() {
        let close = CloseDelimited::default();
        close.complete();
        assert!(close.may_close() && close.may_fin());
    }

    #[test]
    fn an_end_that_an_answer_awaits_comes_once_it_is_told_and_not_before() {
        let close = CloseDelimited::default();
        close.started();
        assert!(!close.may_close() && !close.may_fin());
        close.complete();
        assert!(close.may_close() && !close.may_fin());
        close.closed();
        assert!(close.may_fin());
    }

    #[test]
    fn what_has_gone_wrong_stays_so() {
        let close = CloseDelimited::default();
        close.failed();
        close.complete();
        close.closed();
        assert!(!close.may_close() && !close.may_fin());
    }
}
