//! The protobuf format of Prometheus, with native histograms: messages of `io.prometheus.client.MetricFamily`.
//!
//! The messages are those of `metrics.proto` in github.com/prometheus/client_model, as far as they are used here. They are
//! written by hand: the encoder of prometheus-client is compiled with prost-build, which wants `protoc` on the machine that
//! builds, or a compiler of protocol buffers as thirty more crates.

use std::time::UNIX_EPOCH;

use prost::Message as _;

use super::families::{ExposedFamily, Exposition, Labels, MetricKind, SampleValue, classic_buckets};
use crate::observe::latency::{FIRST_NATIVE, LatencyExemplar, LatencySnapshot, SCHEMA, ZERO_THRESHOLD};

/// `MetricFamily`.
#[derive(Clone, PartialEq, prost::Message)]
struct FamilyMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    /// `MetricType`: 0 is a counter, 1 a gauge, 4 a histogram.
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<MetricMessage>,
}

/// `Metric`.
#[derive(Clone, PartialEq, prost::Message)]
struct MetricMessage {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelMessage>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<NumberMessage>,
    #[prost(message, optional, tag = "3")]
    counter: Option<NumberMessage>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<HistogramMessage>,
}

/// `LabelPair`.
#[derive(Clone, PartialEq, prost::Message)]
struct LabelMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// `Gauge` or `Counter`.
#[derive(Clone, PartialEq, prost::Message)]
struct NumberMessage {
    #[prost(double, tag = "1")]
    value: f64,
}

/// `Histogram`: the classic buckets, and the native ones after them.
#[derive(Clone, PartialEq, prost::Message)]
struct HistogramMessage {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    buckets: Vec<BucketMessage>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    /// Never 0: it also shows that a histogram without observations is native.
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    spans: Vec<SpanMessage>,
    /// The count of each bucket of the spans, less that of the bucket before it.
    #[prost(sint64, repeated, tag = "13")]
    deltas: Vec<i64>,
}

/// `Bucket`.
#[derive(Clone, PartialEq, prost::Message)]
struct BucketMessage {
    /// The observations of this bucket and of those before it.
    #[prost(uint64, tag = "1")]
    cumulative: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<ExemplarMessage>,
}

/// `BucketSpan`.
#[derive(Clone, PartialEq, prost::Message)]
struct SpanMessage {
    /// The index of its first bucket.
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// `Exemplar`. Native histograms get those of the classic buckets, as they have the time.
#[derive(Clone, PartialEq, prost::Message)]
struct ExemplarMessage {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelMessage>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    at: Option<TimeMessage>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
struct TimeMessage {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Writes the families, each behind its length.
pub(super) fn encode(Exposition(families): Exposition) -> Vec<u8> {
    let mut written = Vec::new();
    for family in families {
        written.extend(message(family).encode_length_delimited_to_vec());
    }
    written
}

fn message(ExposedFamily { name, kind, help, samples, .. }: ExposedFamily) -> FamilyMessage {
    let metrics = samples.into_iter().map(|(labels, value)| metric(labels, &value, kind)).collect();
    let kind = match kind {
        MetricKind::Counter => 0,
        MetricKind::Gauge => 1,
        MetricKind::Histogram => 4,
    };
    FamilyMessage { name, help, kind, metrics }
}

fn metric(labels: Labels, value: &SampleValue, kind: MetricKind) -> MetricMessage {
    let mut metric = MetricMessage { labels: pairs(labels), ..MetricMessage::default() };
    let value = match value {
        #[expect(clippy::cast_precision_loss, reason = "the format has no whole numbers")]
        SampleValue::Whole(count) => *count as f64,
        SampleValue::Real(number) => *number,
        SampleValue::Latency(snapshot) => {
            metric.histogram = Some(histogram(snapshot));
            return metric;
        }
    };
    match kind {
        MetricKind::Counter => metric.counter = Some(NumberMessage { value }),
        MetricKind::Gauge | MetricKind::Histogram => metric.gauge = Some(NumberMessage { value }),
    }
    metric
}

fn pairs(Labels(labels): Labels) -> Vec<LabelMessage> {
    labels.into_iter().map(|(name, value)| LabelMessage { name: name.to_owned(), value }).collect()
}

fn histogram(snapshot: &LatencySnapshot) -> HistogramMessage {
    let mut cumulative = 0;
    let buckets =
        classic_buckets(snapshot).zip(&snapshot.exemplars).map(|((upper_bound, count), exemplar)| {
            cumulative += count;
            BucketMessage { cumulative, upper_bound, exemplar: exemplar.as_ref().map(exemplar_message) }
        });
    let buckets = buckets.collect();
    let [zero_count, native @ ..] = snapshot.native_buckets();
    let (spans, deltas) = spans(&native);
    HistogramMessage {
        count: snapshot.count(),
        sum: snapshot.sum.as_secs_f64(),
        buckets,
        schema: SCHEMA,
        zero_threshold: ZERO_THRESHOLD,
        zero_count,
        spans,
        deltas,
    }
}

/// Writes native buckets as one span, from the first to the last bucket with observations. Prometheus drops the empty
/// buckets within.
fn spans(buckets: &[u64]) -> (Vec<SpanMessage>, Vec<i64>) {
    let is_used = |count: &u64| *count > 0;
    let (Some(first), Some(last)) = (buckets.iter().position(is_used), buckets.iter().rposition(is_used))
    else {
        return (Vec::new(), Vec::new());
    };
    let used = &buckets[first..=last];
    let mut before = 0;
    let deltas = used.iter().map(|count| count.wrapping_sub(std::mem::replace(&mut before, *count)));
    let deltas = deltas.map(u64::cast_signed).collect();
    (vec![SpanMessage { offset: FIRST_NATIVE + first as i32, length: used.len() as u32 }], deltas)
}

fn exemplar_message(exemplar: &LatencyExemplar) -> ExemplarMessage {
    let at = exemplar.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    ExemplarMessage {
        labels: pairs(Labels::of_exemplar(exemplar)),
        value: exemplar.time.as_secs_f64(),
        at: Some(TimeMessage { seconds: at.as_secs().cast_signed(), nanos: at.subsec_nanos().cast_signed() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_stands_behind_its_length() {
        let mut exposition = Exposition::default();
        exposition.family("a", MetricKind::Gauge, "b", [(Labels::of("x", "y"), 2_u64)]);

        let written = encode(exposition);

        let wanted = b"\x1d\x0a\x01a\x12\x01b\x18\x01\x22\x13\x0a\x06\x0a\x01x\x12\x01y\
                       \x12\x09\x09\x00\x00\x00\x00\x00\x00\x00\x40";
        assert_eq!(written, wanted);
    }

    #[test]
    fn one_span_reaches_from_the_first_to_the_last_bucket_with_observations() {
        let (written, deltas) = spans(&[0, 3, 0, 0, 1, 0]);

        assert_eq!(written, [SpanMessage { offset: FIRST_NATIVE + 1, length: 4 }]);
        assert_eq!(deltas, [3, -3, 0, 1]);
        assert_eq!(spans(&[0, 0]), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_histogram_without_observations_is_native_too() {
        let HistogramMessage { count, buckets, zero_threshold, zero_count, spans, deltas, .. } =
            histogram(&LatencySnapshot::default());

        assert!(zero_threshold > 0.0);
        assert_eq!((count, zero_count, buckets.len(), spans.len(), deltas.len()), (0, 0, 20, 0, 0));
    }
}
