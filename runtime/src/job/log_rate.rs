//! A rate limit for log lines: a number per second, after a burst of ten times as many.

use std::time::Instant;

/// The burst, in seconds' worth of lines. Without this limit, a handler could fill the disk and push
/// the lines of others out of the log's queue.
const BURST: u32 = 10;

/// A line counts as one more for every this many bytes.
const SHARE: usize = 256;

/// The remaining allowance.
#[derive(Debug)]
pub struct LogRate {
    /// Lines a second.
    rate: u32,
    lines: u32,
    refilled: Instant,
}

impl LogRate {
    /// Starts with a full burst.
    pub fn new(rate: u32, now: Instant) -> LogRate {
        LogRate { rate, lines: rate.saturating_mul(BURST), refilled: now }
    }

    /// Deducts lines of these lengths from the allowance. Returns `false` if they exceed it, and
    /// deducts nothing then.
    pub fn admits(&mut self, lengths: impl IntoIterator<Item = usize>, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled);
        let fresh = elapsed.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        let fresh = u32::try_from(fresh).unwrap_or(u32::MAX);
        if fresh > 0 {
            self.lines = self.lines.saturating_add(fresh).min(self.rate.saturating_mul(BURST));
            self.refilled = now;
        }
        let cost = |length: usize| u32::try_from(length / SHARE).unwrap_or(u32::MAX).saturating_add(1);
        let cost = lengths.into_iter().map(cost).fold(0, u32::saturating_add);
        let left = self.lines.checked_sub(cost);
        self.lines = left.unwrap_or(self.lines);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lines_that_come_together_are_taken_all_or_none() {
        let start = Instant::now();
        let mut pace = LogRate::new(1, start);

        assert!(!pace.admits([0; 11], start));
        assert!(pace.admits([0, 255, 256, 512], start), "7 of 10");
        assert!(!pace.admits([0; 4], start));
        assert!(pace.admits([0; 4], start + Duration::from_secs(1)));
    }
}
