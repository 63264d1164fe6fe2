//! The highest use of each limit by a job of a version, as a share of the limit.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Limits, Usage};

/// The highest share of each limit that one job has used, in thousandths.
#[derive(Debug, Default)]
pub struct Peaks([AtomicU32; 6]);

/// What one job has used in all.
#[derive(Clone, Copy)]
pub struct Used<'a> {
    /// The usage that was charged to it.
    pub usage: &'a Usage,
    /// From its start to its end.
    pub time: Duration,
    /// Bytes that it has written.
    pub written: u64,
}

impl Peaks {
    /// The recorded limits, by their names in the configuration.
    pub const NAMES: [&str; 6] = ["memory", "time", "cpu", "output", "handles", "body"];

    /// Records a job that has ended, and returns the share of each limit that it used, in thousandths. Takes no lock,
    /// and writes only if the job exceeds the peaks so far.
    pub fn note(&self, limits: &Limits, Used { usage, time, written }: Used<'_>) -> [u32; 6] {
        let of_time = |time: Duration, limit: Option<Duration>| {
            limit.map_or(0, |limit| share(time.as_secs_f64(), limit.as_secs_f64()))
        };
        let time = limits.time.map_or(Duration::ZERO, |_| time.saturating_sub(usage.waits.sum()));
        let shares = [
            share(usage.memory() as f64, limits.memory as f64),
            of_time(time, limits.time),
            of_time(usage.cpu(), limits.cpu),
            share(written as f64, limits.output as f64),
            share(usage.handles() as f64, limits.handles as f64),
            share(usage.body() as f64, limits.body as f64),
        ];
        for (peak, share) in self.0.iter().zip(shares) {
            if share > peak.load(Ordering::Relaxed) {
                peak.fetch_max(share, Ordering::Relaxed);
            }
        }
        shares
    }

    /// Returns the peaks in percent, with the names of the limits.
    pub fn percent(&self) -> impl Iterator<Item = (&'static str, f64)> {
        Peaks::NAMES.into_iter().zip(self.0.iter().map(|peak| f64::from(peak.load(Ordering::Relaxed)) / 10.0))
    }
}

/// Returns the used share of a limit in thousandths, rounded up: any use is visible. At most 1000, since a job that
/// ends at its limit may exceed it by a moment.
fn share(used: f64, limit: f64) -> u32 {
    if used == 0.0 {
        return 0;
    }
    // A limit of zero is used up: the quotient is infinite.
    let exact = (used * 1000.0 / limit).min(1000.0);
    // `f64::ceil` would be a call into the C library.
    let whole = exact as u32;
    whole + u32::from(f64::from(whole) < exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_of_all_jobs_is_kept_for_each_limit() {
        let peaks = Peaks::default();
        let limits = Limits {
            memory: 1000,
            time: Some(Duration::from_secs(10)),
            cpu: None,
            output: 100,
            ..Limits::default()
        };
        let note = |memory: usize, seconds: u64, written: u64| {
            let usage = Usage::default();
            usage.hold(memory);
            peaks.note(&limits, Used { usage: &usage, time: Duration::from_secs(seconds), written });
        };

        note(920, 1, 0);
        note(100, 5, 200);

        let told: Vec<_> = peaks.percent().collect();
        assert_eq!(told[..4], [("memory", 92.0), ("time", 50.0), ("cpu", 0.0), ("output", 100.0)]);
        assert_eq!((share(1.0, u64::MAX as f64), share(5.0, 0.0)), (1, 1000));
    }

    #[test]
    fn a_share_is_rounded_up_and_is_at_most_the_whole() {
        let shares = [
            (0.0, 0.0),
            (1.0, 1e9),
            (1.0, 1000.0),
            (1.001, 1000.0),
            (999.5, 1000.0),
            (1000.0, 1000.0),
            (2e9, 1.0),
        ];

        let shares = shares.map(|(used, limit)| share(used, limit));

        assert_eq!(shares, [0, 1, 1, 2, 1000, 1000, 1000]);
    }
}
