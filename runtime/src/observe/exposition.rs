//! The formats in which Prometheus gets metrics; the only file that uses prometheus-client.

use std::fmt::{self, Display, Write as _};
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::latency::{BOUNDS, LatencyExemplar, LatencySnapshot};

/// A format of the exposition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpositionFormat {
    /// The text format of Prometheus, version 0.0.4. It has no exemplars.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The metric families of one scrape.
#[derive(Debug, Default)]
pub struct Exposition(Vec<ExposedFamily>);

#[derive(Debug)]
struct ExposedFamily {
    /// Without the suffix that the type adds.
    name: String,
    kind: MetricKind,
    help: String,
    samples: Vec<(Labels, SampleValue)>,
    /// Whether OpenMetrics gets the family as well.
    in_openmetrics: bool,
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
pub struct Labels(Vec<(&'static str, String)>);

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

impl ExpositionFormat {
    /// Chooses the format for the `Accept` field of a scraper. OpenMetrics is chosen only if the field names it, and
    /// prefers the text format no more.
    pub fn accepted(field: Option<&str>) -> ExpositionFormat {
        let quality = |wanted: &str| {
            let ranges = field.unwrap_or_default().split(',');
            ranges.filter_map(|range| quality_of(range, wanted)).fold(0.0, f32::max)
        };
        let openmetrics = quality("application/openmetrics-text");
        if openmetrics > 0.0 && openmetrics >= quality("text/plain") {
            ExpositionFormat::OpenMetrics
        } else {
            ExpositionFormat::Text
        }
    }

    /// Returns the media type.
    pub fn content_type(self) -> &'static str {
        match self {
            ExpositionFormat::Text => prometheus_text::CONTENT_TYPE,
            ExpositionFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Returns the quality of a media range (RFC 9110 §12.5.1), if it names this media type.
fn quality_of(range: &str, wanted: &str) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    parts.next().filter(|media| media.eq_ignore_ascii_case(wanted))?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some(weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
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
        let name = match kind {
            // The encoder adds the suffix.
            MetricKind::Counter => name.strip_suffix("_total").unwrap_or(name),
            MetricKind::Gauge | MetricKind::Histogram => name,
        };
        let samples = samples.into_iter().map(|(labels, value)| (labels, value.into())).collect();
        let (name, help) = (name.to_owned(), help.to_owned());
        self.0.push(ExposedFamily { name, kind, help, samples, in_openmetrics: true });
    }

    /// Adds a family with one sample without labels.
    pub fn single(&mut self, name: &str, kind: MetricKind, help: &str, value: impl Into<SampleValue>) {
        self.family(name, kind, help, [(Labels::default(), value)]);
    }

    /// Leaves the family that was added last out of OpenMetrics, where its name would stand for two families.
    pub fn text_only(&mut self) {
        if let Some(last) = self.0.last_mut() {
            last.in_openmetrics = false;
        }
    }

    /// Writes the families.
    pub fn encode(mut self, format: ExpositionFormat) -> String {
        let mut written = String::new();
        let mut registry = Registry::default();
        // Writing to a string cannot fail.
        match format {
            ExpositionFormat::Text => {
                registry.register_collector(Box::new(self));
                let _infallible = prometheus_text::encode(&mut written, &registry);
                written
            }
            ExpositionFormat::OpenMetrics => {
                self.0.retain(|family| family.in_openmetrics);
                let exemplars = self.exemplars();
                registry.register_collector(Box::new(self));
                let _infallible = text::encode(&mut written, &registry);
                with_exemplars(&written, exemplars)
            }
        }
    }

    /// Returns the exemplar of each bucket, in the order in which buckets are written.
    fn exemplars(&self) -> Vec<Option<LatencyExemplar>> {
        let samples = self.0.iter().flat_map(|family| &family.samples);
        let latencies = samples.filter_map(|(_, value)| match value {
            SampleValue::Latency(snapshot) => Some(snapshot.exemplars),
            SampleValue::Whole(_) | SampleValue::Real(_) => None,
        });
        latencies.flatten().collect()
    }
}

/// Adds exemplars to the lines of buckets. prometheus-client 0.26 writes only exemplars that its own histograms have
/// kept, and those take two locks for each observation.
fn with_exemplars(text: &str, exemplars: Vec<Option<LatencyExemplar>>) -> String {
    let mut exemplars = exemplars.into_iter();
    let mut written = String::with_capacity(text.len());
    for line in text.lines() {
        written.push_str(line);
        let is_bucket = line.split_once('{').is_some_and(|(name, _)| name.ends_with("_bucket"));
        if is_bucket && let Some(LatencyExemplar { job, trace, time, at }) = exemplars.next().flatten() {
            let (time, at) = (time.as_secs_f64(), at.duration_since(UNIX_EPOCH).unwrap_or_default());
            let trace = trace.map(|trace| format!(",trace_id=\"{trace}\"")).unwrap_or_default();
            // Writing to a string cannot fail.
            let _infallible =
                write!(written, " # {{job_id=\"{job:016x}\"{trace}}} {time} {:.3}", at.as_secs_f64());
        }
        written.push('\n');
    }
    written
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for ExposedFamily { name, kind, help, samples, .. } in &self.0 {
            let kind = match kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, value) in samples {
                value.encode(family.encode_family(labels)?, kind)?;
            }
        }
        Ok(())
    }
}

impl SampleValue {
    fn encode(&self, mut encoder: MetricEncoder<'_>, kind: MetricType) -> fmt::Result {
        match (self, kind) {
            (SampleValue::Whole(count), MetricType::Counter) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(count, None)
            }
            (SampleValue::Real(number), MetricType::Counter) => {
                encoder.encode_counter::<NoLabelSet, _, f64>(number, None)
            }
            (SampleValue::Whole(count), _) => encoder.encode_gauge(count),
            (SampleValue::Real(number), _) => encoder.encode_gauge(number),
            (SampleValue::Latency(snapshot), _) => encode_latency(snapshot, encoder),
        }
    }
}

fn encode_latency(snapshot: &LatencySnapshot, mut encoder: MetricEncoder<'_>) -> fmt::Result {
    #[expect(clippy::cast_precision_loss, reason = "the largest bound has eight digits")]
    let bounds = BOUNDS.into_iter().map(|micros| micros as f64 / 1e6).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(snapshot.buckets()).collect();
    encoder.encode_histogram::<NoLabelSet>(snapshot.sum.as_secs_f64(), snapshot.count(), &buckets, None)
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
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::latency::{LatencyExemplars, LatencyHistogram};
    use opentelemetry::TraceId;
    use std::time::Duration;

    fn exposition() -> Exposition {
        let mut exposition = Exposition::default();
        let route = Labels::of("route", "/a\"\\\n");
        exposition.family("requests_total", MetricKind::Counter, "Requests.", [(route.clone(), 3_u64)]);
        exposition.single("open", MetricKind::Gauge, "Whether.", true);
        exposition.single("old", MetricKind::Gauge, "Old.", 0.5);
        exposition.text_only();
        let (histogram, exemplars) = (LatencyHistogram::new(), LatencyExemplars::new());
        histogram.observe_job(&exemplars, Duration::from_millis(2), (0xe5, None));
        histogram.observe_job(&exemplars, Duration::from_secs(2), (0xe6, Some(TraceId::from(0x2a))));
        let mut snapshot = histogram.snapshot();
        exemplars.add_to(&mut snapshot);
        exposition.family("took_seconds", MetricKind::Histogram, "Time.", [(route, snapshot)]);
        exposition
    }

    #[test]
    fn the_text_format_has_every_family_and_no_exemplar() {
        let text = exposition().encode(ExpositionFormat::Text);

        let head = "# HELP requests_total Requests.\n# TYPE requests_total counter\n\
                    requests_total{route=\"/a\\\"\\\\\\n\"} 3\n\
                    # HELP open Whether.\n# TYPE open gauge\nopen 1\n\
                    # HELP old Old.\n# TYPE old gauge\nold 0.5\n\
                    # HELP took_seconds Time.\n# TYPE took_seconds histogram\n\
                    took_seconds_bucket{route=\"/a\\\"\\\\\\n\",le=\"5e-05\"";
        assert!(text.starts_with(head), "{text}");
        assert!(text.ends_with("took_seconds_count{route=\"/a\\\"\\\\\\n\"} 2\n"), "{text}");
        assert!(!text.contains("job_id"), "{text}");
    }

    #[test]
    fn openmetrics_has_the_exemplars_at_their_buckets_with_their_traces_and_an_end() {
        let text = exposition().encode(ExpositionFormat::OpenMetrics);

        let with: Vec<&str> = text.lines().filter(|line| line.contains("job_id")).collect();
        assert_eq!(with.len(), 2, "{text}");
        assert!(with[0].starts_with("took_seconds_bucket{le=\"0.0025\""), "{text}");
        assert!(with[0].contains(" 1 # {job_id=\"00000000000000e5\"} 0.002 "), "{text}");
        let traced = " 2 # {job_id=\"00000000000000e6\",trace_id=\"0000000000000000000000000000002a\"} 2 ";
        assert!(with[1].contains(traced), "{text}");
        let counter = "# TYPE requests counter\nrequests_total{route=\"/a\\\"\\\\\\n\"} 3\n";
        assert!(text.contains(counter), "{text}");
        assert!(!text.contains("old") && text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn openmetrics_is_for_scrapers_that_name_it_and_prefer_nothing_else() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;\
                          version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.2";
        for (field, wanted) in [
            (None, ExpositionFormat::Text),
            (Some("*/*"), ExpositionFormat::Text),
            (Some(prometheus), ExpositionFormat::OpenMetrics),
            (Some("application/openmetrics-text"), ExpositionFormat::OpenMetrics),
            (Some("text/plain, application/openmetrics-text;q=0.5"), ExpositionFormat::Text),
            (Some("application/openmetrics-text;q=0"), ExpositionFormat::Text),
        ] {
            assert_eq!(ExpositionFormat::accepted(field), wanted, "{field:?}");
        }
    }
}
