//! Whether a close would end a response body that only the close delimits (RFC 9112 §6.3).

use std::sync::atomic::{AtomicU8, Ordering};

/// What a close of the connection would mean. For most connections it means nothing: their responses have a
/// length or chunks.
#[derive(Default)]
pub(in crate::http) struct CloseDelimited(AtomicU8);

/// What a close would mean now.
#[derive(Clone, Copy)]
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

impl CloseDelimited {
    /// Notes that a close-delimited body begins.
    pub(in crate::http) fn started(&self) {
        self.0.store(CloseMeaning::Early as u8, Ordering::Relaxed);
    }

    /// Notes that all of the body was handed over.
    pub(in crate::http) fn complete(&self) {
        self.pass(CloseMeaning::Early, CloseMeaning::Due);
    }

    /// Notes that the response broke off.
    pub(in crate::http) fn failed(&self) {
        self.0.store(CloseMeaning::Wrong as u8, Ordering::Relaxed);
    }

    /// Notes that our end was shut after the last byte.
    pub(in crate::http) fn closed(&self) {
        self.pass(CloseMeaning::Due, CloseMeaning::Nothing);
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

    /// Passes from one meaning to another. Any other meaning stays.
    fn pass(&self, from: CloseMeaning, to: CloseMeaning) {
        let _other = self.0.compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed);
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
