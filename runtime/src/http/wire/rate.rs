//! The least rate at which a client has to send or read while the daemon waits for it.

use std::time::Duration;

/// The least rate of a request or response body. Only time in which the daemon waits for the client counts,
/// so a slow handler never counts against it. A client that owes a body and sends nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    /// Bytes a second; 0 allows any rate.
    pub bytes: u64,
    /// The total waiting time after which a client is judged by what it moved in that time.
    pub window: Duration,
}

/// A client's waits and bytes, measured against a rate window by window.
#[derive(Debug)]
pub(in crate::http) struct Tempo {
    rate: MinRate,
    /// The waits and bytes at the start of the window.
    waited: Duration,
    moved: u64,
}

/// The result of measuring a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum RateCheck {
    /// The client is judged after this much more waiting; `None` means never.
    Open(Option<Duration>),
    /// The client moved too little.
    TooSlow,
}

impl Tempo {
    pub(in crate::http) fn new(rate: MinRate) -> Tempo {
        Tempo { rate, waited: Duration::ZERO, moved: 0 }
    }

    /// Begins a new window.
    pub(in crate::http) fn pardon(&mut self, waited: Duration, moved: u64) {
        (self.waited, self.moved) = (waited, moved);
    }

    /// Judges a client by the total time it was waited for and the total bytes it has moved.
    pub(in crate::http) fn judge(&mut self, waited: Duration, moved: u64) -> RateCheck {
        let MinRate { bytes, window } = self.rate;
        if bytes == 0 {
            return RateCheck::Open(None);
        }
        let in_window = waited.saturating_sub(self.waited);
        if let Some(left) = window.checked_sub(in_window).filter(|left| !left.is_zero()) {
            return RateCheck::Open(Some(left));
        }
        let wanted = u128::from(bytes) * in_window.as_millis() / 1000;
        if u128::from(moved.saturating_sub(self.moved)) < wanted {
            return RateCheck::TooSlow;
        }
        self.pardon(waited, moved);
        RateCheck::Open(Some(window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: MinRate = MinRate { bytes: 240, window: Duration::from_secs(5) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_is_judged_by_what_it_moved_while_it_was_waited_for() {
        // Waited so far, moved so far, and whether that is too slow.
        for (steps, too_slow) in [
            (&[(5, 1200)][..], false),
            (&[(5, 1199)], true),
            (&[(1, 0), (4, 0), (5, 0)], true),
            // Fast at first, slow in the second window.
            (&[(5, 1_000_000), (10, 1_000_100)], true),
            (&[(5, 1200), (9, 1200), (10, 2400)], false),
            // One long wait is judged as a whole.
            (&[(60, 240 * 60)], false),
            (&[(60, 240 * 60 - 1)], true),
        ] {
            let mut tempo = Tempo::new(RATE);
            let last = steps.iter().map(|(waited, moved)| tempo.judge(seconds(*waited), *moved)).last();
            assert_eq!(last == Some(RateCheck::TooSlow), too_slow, "{steps:?}");
        }
    }

    #[test]
    fn a_client_that_is_not_waited_for_is_never_judged() {
        let mut tempo = Tempo::new(RATE);
        assert_eq!(tempo.judge(seconds(0), 0), RateCheck::Open(Some(seconds(5))));
        assert_eq!(tempo.judge(seconds(4), 0), RateCheck::Open(Some(seconds(1))));

        let mut any = Tempo::new(MinRate { bytes: 0, ..RATE });
        assert_eq!(any.judge(seconds(1000), 0), RateCheck::Open(None));
    }
}
