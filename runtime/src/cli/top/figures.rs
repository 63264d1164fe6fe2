//! `HandlerFigures`: what `top` shows of one handler, from two reports of its counters.

use std::time::Duration;

use crate::jobs::api::{DurationBucket, HandlerReport, Pairs};

/// The figures of one handler between two samples.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct HandlerFigures {
    pub(super) name: String,
    pub(super) version: String,
    /// Requests a second. `None` after the first sample.
    pub(super) rate: Option<f64>,
    /// Percentiles and the bound of the longest, in milliseconds. `None` without requests.
    pub(super) durations: Option<Durations>,
    pub(super) running: usize,
    pub(super) slots: usize,
    pub(super) waiting: usize,
    pub(super) places: usize,
    /// Used processors.
    pub(super) cpu: Option<f64>,
    /// The memory of its running jobs, in bytes.
    pub(super) memory: usize,
    /// Failures a second.
    pub(super) failing: Option<f64>,
    /// Failures of the version by reason, the most frequent first.
    pub(super) reasons: Vec<(String, u64)>,
}

/// The distribution of durations, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Durations {
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// The upper bound of the longest. Infinite if its bucket has no bound.
    pub(super) max: f64,
}

impl HandlerFigures {
    /// Computes rates from the report before, which is `before.1` older, and durations from the oldest report of the
    /// window.
    pub(super) fn of(
        now: &HandlerReport,
        before: Option<(&HandlerReport, Duration)>,
        oldest: Option<&HandlerReport>,
    ) -> HandlerFigures {
        let per_second = |counter: fn(&HandlerReport) -> f64| {
            let (before, time) = before?;
            // The counters of another version start again.
            let earlier = Some(counter(before)).filter(|_| before.version == now.version);
            Some((counter(now) - earlier.unwrap_or_default()).max(0.0) / time.as_secs_f64().max(0.001))
        };
        let mut reasons = failures(now);
        reasons.sort_by(|(_, one), (_, other)| other.cmp(one));
        let oldest = oldest.filter(|oldest| oldest.version == now.version);
        HandlerFigures {
            name: now.name.clone(),
            version: now.version.clone(),
            rate: per_second(|report| report.requests as f64),
            durations: Durations::between(oldest.map_or(&[], |oldest| &oldest.durations), &now.durations),
            running: now.running,
            slots: now.limits.concurrency,
            waiting: now.waiting,
            places: now.limits.queue,
            cpu: per_second(|report| report.cpu_ms / 1000.0),
            memory: now.memory,
            failing: per_second(|report| {
                failures(report).iter().map(|(_, count)| *count).sum::<u64>() as f64
            }),
            reasons,
        }
    }

    /// Returns the number of failures.
    pub(super) fn failed(&self) -> u64 {
        self.reasons.iter().map(|(_, count)| count).sum()
    }
}

/// Lists the failures of a version by reason: its failed jobs by their codes, and the errors that it answered itself.
fn failures(report: &HandlerReport) -> Vec<(String, u64)> {
    let Pairs(codes) = &report.reasons;
    let answered = Some(("5xx".to_owned(), report.answered_errors)).filter(|(_, count)| *count > 0);
    codes.iter().cloned().chain(answered).collect()
}

impl Durations {
    /// Returns the distribution of the requests between two histograms. `None` if there were none.
    fn between(before: &[DurationBucket], now: &[DurationBucket]) -> Option<Durations> {
        let earlier = |position: usize| before.get(position).map_or(0, |bucket| bucket.count);
        let counts: Vec<(f64, u64)> = now
            .iter()
            .enumerate()
            .map(|(position, bucket)| {
                let count = bucket.count.saturating_sub(earlier(position));
                (bucket.up_to_ms.unwrap_or(f64::INFINITY), count)
            })
            .collect();
        let max = counts.iter().rev().find(|(_, count)| *count > 0)?.0;
        Some(Durations { p50: percentile(&counts, 0.5), p99: percentile(&counts, 0.99), max })
    }
}

/// Returns the duration below which this share of the counts lies. Within a bucket, durations are taken to be spread
/// evenly, as Prometheus does.
fn percentile(counts: &[(f64, u64)], share: f64) -> f64 {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let (mut left, mut lower) = (total as f64 * share, 0.0);
    for (upper, count) in counts {
        let count = *count as f64;
        if count > 0.0 && left <= count {
            // In the bucket without a bound, the lower bound is all that is known.
            return if upper.is_finite() { lower + (upper - lower) * left / count } else { lower };
        }
        left -= count;
        lower = *upper;
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: [u64; 4]) -> Vec<DurationBucket> {
        let bounds = [Some(1.0), Some(10.0), Some(100.0), None];
        bounds.into_iter().zip(counts).map(|(up_to_ms, count)| DurationBucket { up_to_ms, count }).collect()
    }

    #[test]
    fn percentiles_are_of_the_requests_between_two_histograms() {
        let between = |before, now| Durations::between(&buckets(before), &buckets(now));

        assert_eq!(between([5, 5, 5, 5], [5, 5, 5, 5]), None);
        let even = between([9, 0, 0, 0], [9, 100, 0, 0]).unwrap();
        assert_eq!((even.p50, even.max), (5.5, 10.0));
        let tail = between([0; 4], [98, 0, 2, 0]).unwrap();
        assert!(tail.p50 < 1.0 && tail.p99 == 55.0, "{tail:?}");
        let late = between([0; 4], [0, 0, 0, 3]).unwrap();
        assert_eq!((late.p50, late.max), (100.0, f64::INFINITY));
    }
}
