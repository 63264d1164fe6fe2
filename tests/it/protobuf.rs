//! Metrics in the protobuf format: who gets it, and whether it says what the text says.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;

use crate::harness::{Client, Daemon, Response, until};
use crate::metrics::{keeping, sleeping};

/// The range of an `Accept` field that names the format.
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The messages of `metrics.proto` (github.com/prometheus/client_model).
#[derive(Clone, PartialEq, prost::Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    /// 0 is a counter, 1 a gauge, 4 a histogram.
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Number {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<Exemplar>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// What a scrape has told.
#[derive(Debug, Default, PartialEq)]
struct Scrape {
    /// The name, the help and the type of each family, in their order.
    families: Vec<(String, String, String)>,
    /// The samples by their names and labels.
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    fn add(&mut self, name: &str, mut labels: Vec<(String, String)>, value: f64) {
        for (label, text) in &mut labels {
            if label == "le" {
                // `5e-05` and `0.00005` are the same bound.
                *text = text.parse::<f64>().unwrap().to_string();
            }
        }
        labels.sort();
        let series = format!("{name}{labels:?}");
        assert_eq!(self.samples.insert(series, value), None, "{name} twice");
    }

    fn add_classic(&mut self, name: &str, labels: Vec<(String, String)>, histogram: &Histogram) {
        for Bucket { upper_bound, cumulative_count, .. } in &histogram.bucket {
            let mut labels = labels.clone();
            labels.push(("le".to_owned(), upper_bound.to_string()));
            self.add(&format!("{name}_bucket"), labels, *cumulative_count as f64);
        }
        self.add(&format!("{name}_sum"), labels.clone(), histogram.sample_sum);
        self.add(&format!("{name}_count"), labels, histogram.sample_count as f64);
    }

    fn of_text(text: &str) -> Scrape {
        let mut scrape = Scrape::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                scrape.families.push((name.to_owned(), help.to_owned(), String::new()));
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (_, kind) = rest.split_once(' ').unwrap();
                scrape.families.last_mut().unwrap().2 = kind.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let pairs = labels.strip_suffix("\"}").unwrap_or_default().split("\",");
                let pairs = pairs.filter_map(|pair| pair.split_once("=\""));
                let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
                scrape.add(name, pairs.collect(), value.parse().unwrap());
            }
        }
        scrape
    }

    fn of_protobuf(families: &[MetricFamily]) -> Scrape {
        let mut scrape = Scrape::default();
        for MetricFamily { name, help, kind, metric } in families {
            let told = match kind {
                0 => "counter",
                1 => "gauge",
                4 => "histogram",
                other => panic!("{name} has the type {other}"),
            };
            scrape.families.push((name.clone(), help.clone(), told.to_owned()));
            for Metric { label, gauge, counter, histogram } in metric {
                let labels = pairs(label);
                match (told, gauge, counter, histogram) {
                    ("gauge", Some(number), None, None) | ("counter", None, Some(number), None) => {
                        scrape.add(name, labels, number.value);
                    }
                    ("histogram", None, None, Some(histogram)) => scrape.add_classic(name, labels, histogram),
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
        scrape
    }

    /// Leaves out the one sample that changes while the daemon does nothing but answer scrapes.
    fn at_rest(mut self) -> Scrape {
        assert!(self.samples.remove("process_resident_memory_bytes[]").is_some_and(|bytes| bytes > 1e6));
        self
    }
}

impl Histogram {
    /// Returns the observations up to the end of the native bucket with this index.
    fn up_to(&self, index: i32) -> u64 {
        let below = self.native().into_iter().filter(|(own, _)| *own <= index);
        self.zero_count + below.map(|(_, count)| count).sum::<u64>()
    }

    /// Returns the native buckets by their indices.
    fn native(&self) -> BTreeMap<i32, u64> {
        let (mut index, mut count) = (0, 0);
        let mut deltas = self.positive_delta.iter();
        let mut buckets = BTreeMap::new();
        for BucketSpan { offset, length } in &self.positive_span {
            index += offset;
            for delta in deltas.by_ref().take(*length as usize) {
                count += delta;
                buckets.insert(index, u64::try_from(count).unwrap());
                index += 1;
            }
        }
        assert_eq!((deltas.next(), buckets.len()), (None, self.positive_delta.len()));
        buckets
    }
}

fn pairs(labels: &[LabelPair]) -> Vec<(String, String)> {
    labels.iter().map(|LabelPair { name, value }| (name.clone(), value.clone())).collect()
}

fn scrape(daemon: &Daemon, accept: &str) -> Response {
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n"));
    client.response()
}

fn families(daemon: &Daemon) -> Vec<MetricFamily> {
    let response = scrape(daemon, &format!("Accept: {PROTOBUF}\r\n"));
    let media = response.field("content-type").unwrap().replace("; ", ";");
    assert_eq!((response.status(), media.as_str()), (200, PROTOBUF));
    assert_eq!(response.field("vary"), Some("Accept"));
    let mut rest = response.body.as_slice();
    let mut families = Vec::new();
    while !rest.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
    }
    families
}

/// Returns the histograms with observations, with the names of their families.
fn histograms(families: &[MetricFamily]) -> Vec<(&str, &Histogram)> {
    let all = families.iter().flat_map(|family| {
        family.metric.iter().filter_map(|metric| Some((family.name.as_str(), metric.histogram.as_ref()?)))
    });
    all.filter(|(_, histogram)| histogram.sample_count > 0).collect()
}

/// Returns the histograms of one family.
fn histograms_of<'f>(families: &'f [MetricFamily], name: &str) -> Vec<&'f Histogram> {
    histograms(families).into_iter().filter(|(own, _)| *own == name).map(|(_, histogram)| histogram).collect()
}

#[test]
fn protobuf_has_the_families_the_labels_and_the_values_of_the_text() {
    let daemon = keeping();

    let (text, protobuf) = until("two scrapes of the same figures", || {
        let text = || Scrape::of_text(&daemon.metrics()).at_rest();
        let (before, protobuf, after) = (text(), families(&daemon), text());
        (before == after).then_some((before, protobuf))
    });

    let protobuf = Scrape::of_protobuf(&protobuf).at_rest();
    assert!(text.families.len() > 40, "{:?}", text.families);
    assert_eq!(protobuf.families, text.families);
    let differ: Vec<_> =
        protobuf.samples.iter().filter(|(key, value)| text.samples.get(*key) != Some(*value)).collect();
    assert!(differ.is_empty() && protobuf.samples.len() == text.samples.len(), "{differ:?}");
}

#[test]
fn native_buckets_count_what_the_classic_ones_count() {
    let daemon = keeping();

    // A request is counted at the last byte of its response, which may be after its client has read it.
    let families = until("durations of all kinds", || {
        let families = families(&daemon);
        let counted = |name: &str| !histograms_of(&families, name).is_empty();
        let kinds = ["http_request", "http_response_send", "store_operation", "database_operation"];
        kinds.iter().all(|kind| counted(&format!("portcullis_{kind}_duration_seconds"))).then_some(families)
    });

    for (name, histogram) in histograms(&families) {
        assert_eq!((histogram.schema, histogram.zero_threshold), (2, (-18_f64).exp2()), "{name}");
        assert_eq!(histogram.up_to(i32::MAX), histogram.sample_count, "{name}: {histogram:?}");
        // The bounds that are both classic and native: 2^-2, 2^-1 and 2^0 s.
        for (bound, index) in [(0.25, -8), (0.5, -4), (1.0, 0)] {
            let classic = histogram.bucket.iter().find(|bucket| bucket.upper_bound == bound).unwrap();
            assert_eq!(histogram.up_to(index), classic.cumulative_count, "{name} {bound}: {histogram:?}");
        }
    }
    // A job that found a free slot has waited for no time.
    let queues = histograms_of(&families, "portcullis_job_queue_duration_seconds");
    assert!(queues.iter().all(|queue| queue.zero_count == queue.sample_count), "{queues:?}");
}

#[test]
fn a_request_is_in_the_native_bucket_of_its_duration_with_its_job_as_an_exemplar() {
    const NAME: &str = "portcullis_http_request_duration_seconds";
    let daemon = sleeping(Duration::from_millis(30), "").start();
    daemon.get("/");
    daemon.counted(&format!("{NAME}_count"), &["handler=\"one\""], 1.0);

    let families = families(&daemon);

    let [histogram] = histograms_of(&families, NAME)[..] else { panic!("{families:?}") };
    let native = histogram.native();
    let (index, count) = native.first_key_value().unwrap();
    assert_eq!((native.len(), *count), (1, 1), "{histogram:?}");
    let bound = |index: i32| (f64::from(index) / 4.0).exp2();
    let took = histogram.sample_sum;
    assert!(took >= 0.03 && bound(index - 1) < took && took <= bound(*index), "{took} in bucket {index}");
    let exemplars: Vec<&Exemplar> =
        histogram.bucket.iter().filter_map(|bucket| bucket.exemplar.as_ref()).collect();
    let [Exemplar { label, value, timestamp }] = exemplars[..] else { panic!("{histogram:?}") };
    let logged = daemon.log.line("GET / -> 200 one@");
    let job = logged.split(['[', ']']).nth(1).unwrap();
    assert_eq!(pairs(label), [("job_id".to_owned(), job.to_owned())]);
    assert_eq!(*value, took);
    assert!(timestamp.as_ref().unwrap().seconds > 1_700_000_000, "{timestamp:?}");
}

#[test]
fn protobuf_is_for_scrapers_that_prefer_it_and_all_others_get_text() {
    let daemon = sleeping(Duration::ZERO, "").start();

    for (accept, media) in [
        // As Prometheus 2.42 asks for native histograms, and as 3.14 does.
        (
            format!("{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5,*/*;q=0.1"),
            PROTOBUF,
        ),
        (
            format!(
                "{PROTOBUF};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
            ),
            PROTOBUF,
        ),
        (format!("application/openmetrics-text;version=1.0.0, {PROTOBUF};q=0.9"), OPENMETRICS),
        (format!("text/plain;version=0.0.4, {PROTOBUF};q=0.9"), TEXT),
        (format!("text/plain;version=0.0.4, {PROTOBUF}"), TEXT),
        (PROTOBUF.replace("delimited", "compact-text"), TEXT),
        ("application/vnd.google.protobuf".to_owned(), TEXT),
        (format!("{PROTOBUF};q=0"), TEXT),
        (format!("{PROTOBUF};q=0.9, */*"), TEXT),
        (";;,q=;proto=,\"".to_owned(), TEXT),
        ("*/*".to_owned(), TEXT),
    ] {
        let response = scrape(&daemon, &format!("Accept: {accept}\r\n"));

        let told = response.field("content-type").unwrap();
        assert!(told == media || told.replace("; ", ";") == media, "{accept}: {told}");
        assert_eq!((response.status(), response.field("vary")), (200, Some("Accept")));
    }
    assert_eq!(scrape(&daemon, "").field("content-type"), Some(TEXT));
    let lines = format!("Accept: text/plain;q=0.5\r\nAccept: {PROTOBUF}\r\n");
    let told = scrape(&daemon, &lines).field("content-type").unwrap().replace("; ", ";");
    assert_eq!(told, PROTOBUF, "the lines of a field are one list");
}
