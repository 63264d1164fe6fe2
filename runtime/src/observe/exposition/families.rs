//! `Exposition`: the metric families of one scrape, whatever their format.

use std::fmt::Display;

use crate::observe::latency::{BOUNDS, LatencyExemplar, LatencySnapshot};

/// The metric families of one scrape.
#[derive(Debug, Default)]
pub struct Exposition(pub(super) Vec<ExposedFamily>);

/// A metric family with its samples.
#[derive(Debug)]
pub(super) struct ExposedFamily {
    pub(super) name: String,
    pub(super) kind: MetricKind,
    pub(super) help: String,
    pub(super) samples: Vec<(Labels, SampleValue)>,
    /// Whether OpenMetrics gets the family as well.
    pub(super) in_openmetrics: bool,
}

/// The type of a metric family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// A number that only grows. Its name ends with `_total`.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A distribution of durations.
    Histogram,
}

/// The labels of a sample.
#[derive(Clone, Debug, Default)]
pub struct Labels(pub(super) Vec<(&'static str, String)>);

/// The value of a sample.
#[derive(Clone, Debug)]
pub enum SampleValue {
    /// A whole number.
    Whole(u64),
    /// Any other number.
    Real(f64),
    /// The counts of a histogram.
    Latency(Box<LatencySnapshot>),
}

impl Exposition {
    /// Adds a family. A family without samples shows its name and help alone.
    pub fn family<V: Into<SampleValue>>(
        &mut self,
        name: &str,
        kind: MetricKind,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, V)>,
    ) {
        let samples = samples.into_iter().map(|(labels, value)| (labels, value.into())).collect();
        let (name, help) = (name.to_owned(), help.to_owned());
        self.0.push(ExposedFamily { name, kind, help, samples, in_openmetrics: true });
    }

    /// Adds a family with one sample without labels.
    pub fn single(&mut self, name: &str, kind: MetricKind, help: &str, value: impl Into<SampleValue>) {
        self.family(name, kind, help, [(Labels::default(), value)]);
    }

    /// Leaves the family that was added last out of OpenMetrics, where its name would stand for two families.
    pub fn leave_out_of_openmetrics(&mut self) {
        if let Some(last) = self.0.last_mut() {
            last.in_openmetrics = false;
        }
    }
}

impl Labels {
    /// Makes one label.
    pub fn of(name: &'static str, value: impl Display) -> Labels {
        Labels::default().and(name, value)
    }

    /// Adds a label.
    #[must_use]
    pub fn and(mut self, name: &'static str, value: impl Display) -> Labels {
        self.0.push((name, value.to_string()));
        self
    }

    /// Makes the labels of an exemplar.
    pub(super) fn of_exemplar(exemplar: &LatencyExemplar) -> Labels {
        let job = Labels::of("job_id", format_args!("{:016x}", exemplar.job));
        match exemplar.trace {
            Some(trace) => job.and("trace_id", trace),
            None => job,
        }
    }
}

/// Returns the classic buckets of a histogram: the upper bound in seconds, and the observations of the bucket alone.
pub(super) fn classic_buckets(snapshot: &LatencySnapshot) -> impl Iterator<Item = (f64, u64)> {
    #[expect(clippy::cast_precision_loss, reason = "the largest bound has eight digits")]
    let bounds = BOUNDS.into_iter().map(|micros| micros as f64 / 1e6).chain([f64::INFINITY]);
    bounds.zip(snapshot.buckets())
}

/// Adds whole numbers and other numbers. A histogram is not summed this way.
impl std::iter::Sum for SampleValue {
    fn sum<I: Iterator<Item = SampleValue>>(values: I) -> SampleValue {
        values.fold(SampleValue::Whole(0), |sum, value| match (sum, value) {
            (SampleValue::Whole(sum), SampleValue::Whole(more)) => SampleValue::Whole(sum + more),
            (sum, SampleValue::Whole(0)) => sum,
            (SampleValue::Whole(0), more) => more,
            #[expect(clippy::cast_precision_loss, reason = "a sum of seconds is not exact in any case")]
            (SampleValue::Real(sum), SampleValue::Whole(more))
            | (SampleValue::Whole(more), SampleValue::Real(sum)) => SampleValue::Real(sum + more as f64),
            (SampleValue::Real(sum), SampleValue::Real(more)) => SampleValue::Real(sum + more),
            (sum, SampleValue::Latency(_)) | (sum @ SampleValue::Latency(_), _) => sum,
        })
    }
}

impl From<u64> for SampleValue {
    fn from(count: u64) -> SampleValue {
        SampleValue::Whole(count)
    }
}

impl From<usize> for SampleValue {
    fn from(count: usize) -> SampleValue {
        SampleValue::Whole(count as u64)
    }
}

impl From<i64> for SampleValue {
    #[expect(clippy::cast_precision_loss, reason = "a number below -2^53 is as good without its last digits")]
    fn from(number: i64) -> SampleValue {
        u64::try_from(number).map_or(SampleValue::Real(number as f64), SampleValue::Whole)
    }
}

impl From<bool> for SampleValue {
    fn from(is_so: bool) -> SampleValue {
        SampleValue::Whole(is_so.into())
    }
}

impl From<f64> for SampleValue {
    fn from(number: f64) -> SampleValue {
        SampleValue::Real(number)
    }
}

impl From<LatencySnapshot> for SampleValue {
    fn from(snapshot: LatencySnapshot) -> SampleValue {
        SampleValue::Latency(Box::new(snapshot))
    }
}
