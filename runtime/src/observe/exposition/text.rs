//! The text format of Prometheus and OpenMetrics; the only file that uses prometheus-client.

use std::fmt::{self, Write as _};
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::families::{ExposedFamily, Exposition, Labels, MetricKind, SampleValue, classic_buckets};
use crate::observe::latency::LatencyExemplar;

/// The media type of the text format.
pub(super) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Writes the families in the text format.
pub(super) fn encode(exposition: Exposition) -> String {
    let (mut written, mut registry) = (String::new(), Registry::default());
    registry.register_collector(Box::new(exposition));
    // Writing to a string cannot fail.
    let _infallible = prometheus_text::encode(&mut written, &registry);
    written
}

/// Writes the families in OpenMetrics.
pub(super) fn encode_openmetrics(mut exposition: Exposition) -> String {
    exposition.0.retain(|family| family.in_openmetrics);
    let exemplars = exemplars(&exposition);
    let (mut written, mut registry) = (String::new(), Registry::default());
    registry.register_collector(Box::new(exposition));
    // Writing to a string cannot fail.
    let _infallible = text::encode(&mut written, &registry);
    with_exemplars(&written, exemplars)
}

/// Returns the exemplar of each bucket, in the order in which buckets are written.
fn exemplars(Exposition(families): &Exposition) -> Vec<Option<LatencyExemplar>> {
    let samples = families.iter().flat_map(|family| &family.samples);
    let latencies = samples.filter_map(|(_, value)| match value {
        SampleValue::Latency(snapshot) => Some(snapshot.exemplars),
        SampleValue::Whole(_) | SampleValue::Real(_) => None,
    });
    latencies.flatten().collect()
}

/// Adds exemplars to the lines of buckets. prometheus-client 0.26 writes only exemplars that its own histograms have
/// kept, and those take two locks for each observation.
fn with_exemplars(text: &str, exemplars: Vec<Option<LatencyExemplar>>) -> String {
    let mut exemplars = exemplars.into_iter();
    let mut written = String::with_capacity(text.len());
    for line in text.lines() {
        written.push_str(line);
        let is_bucket = line.split_once('{').is_some_and(|(name, _)| name.ends_with("_bucket"));
        if is_bucket && let Some(exemplar) = exemplars.next().flatten() {
            let LatencyExemplar { time, at, .. } = exemplar;
            let (time, at) = (time.as_secs_f64(), at.duration_since(UNIX_EPOCH).unwrap_or_default());
            // Numbers in hexadecimal: nothing to escape.
            let Labels(labels) = Labels::of_exemplar(&exemplar);
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            // Writing to a string cannot fail.
            let _infallible = write!(written, " # {{{}}} {time} {:.3}", labels.join(","), at.as_secs_f64());
        }
        written.push('\n');
    }
    written
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for ExposedFamily { name, kind, help, samples, .. } in &self.0 {
            let (name, kind) = match kind {
                // The encoder adds the suffix.
                MetricKind::Counter => (name.strip_suffix("_total").unwrap_or(name), MetricType::Counter),
                MetricKind::Gauge => (name.as_str(), MetricType::Gauge),
                MetricKind::Histogram => (name.as_str(), MetricType::Histogram),
            };
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, value) in samples {
                encode_value(value, family.encode_family(labels)?, kind)?;
            }
        }
        Ok(())
    }
}

fn encode_value(value: &SampleValue, mut encoder: MetricEncoder<'_>, kind: MetricType) -> fmt::Result {
    match (value, kind) {
        (SampleValue::Whole(count), MetricType::Counter) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(count, None)
        }
        (SampleValue::Real(number), MetricType::Counter) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(number, None)
        }
        (SampleValue::Whole(count), _) => encoder.encode_gauge(count),
        (SampleValue::Real(number), _) => encoder.encode_gauge(number),
        (SampleValue::Latency(snapshot), _) => {
            let buckets: Vec<(f64, u64)> = classic_buckets(snapshot).collect();
            let sum = snapshot.sum.as_secs_f64();
            encoder.encode_histogram::<NoLabelSet>(sum, snapshot.count(), &buckets, None)
        }
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
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
        exposition.leave_out_of_openmetrics();
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
        let text = encode(exposition());

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
        let text = encode_openmetrics(exposition());

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
}
