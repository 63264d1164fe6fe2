//! What the end of a connection tells its client.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where a connection stands that may come to mean something by its end. Most never do: their answers
/// say by themselves where they end.
#[derive(Default)]
pub(in crate::http) struct Ending(AtomicU8);

/// The end means nothing.
const NOTHING: u8 = 0;
/// It will mean that an answer is whole, of which something is missing.
const EARLY: u8 = 1;
/// The same, and nothing is missing.
const DUE: u8 = 2;
/// It would mean that all was said, which it was not.
const WRONG: u8 = 3;

impl Ending {
    /// Notes that an answer begins which is whole where the connection ends (RFC 9112 §6.3).
    pub(in crate::http) fn awaits(&self) {
        self.0.store(EARLY, Ordering::Relaxed);
    }

    /// Notes that all of the answer was handed over.
    pub(in crate::http) fn falls_due(&self) {
        let _other = self.0.compare_exchange(EARLY, DUE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that the connection breaks off.
    pub(in crate::http) fn goes_wrong(&self) {
        self.0.store(WRONG, Ordering::Relaxed);
    }

    /// Notes that the client was told the end, behind all that was written.
    pub(in crate::http) fn is_told(&self) {
        let _other = self.0.compare_exchange(DUE, NOTHING, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Reports whether the client may be told the end.
    pub(in crate::http) fn may_be_told(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), NOTHING | DUE)
    }

    /// Reports whether the connection may just be closed, which tells the client its end.
    pub(in crate::http) fn may_come(&self) -> bool {
        self.0.load(Ordering::Relaxed) == NOTHING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_means_nothing_may_come_at_any_time() {
        let ending = Ending::default();
        ending.falls_due();
        assert!(ending.may_be_told() && ending.may_come());
    }

    #[test]
    fn an_end_that_an_answer_awaits_comes_once_it_is_told_and_not_before() {
        let ending = Ending::default();
        ending.awaits();
        assert!(!ending.may_be_told() && !ending.may_come());
        ending.falls_due();
        assert!(ending.may_be_told() && !ending.may_come());
        ending.is_told();
        assert!(ending.may_come());
    }

    #[test]
    fn what_has_gone_wrong_stays_so() {
        let ending = Ending::default();
        ending.goes_wrong();
        ending.falls_due();
        ending.is_told();
        assert!(!ending.may_be_told() && !ending.may_come());
    }
}
