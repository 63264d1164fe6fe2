//! Traces: what a collector receives of a request, whose parents are believed, and what is kept of a failure.

use std::sync::{Arc, Mutex};

use prost::Message as _;

use crate::harness::origin::read_body;
use crate::harness::{Daemon, Origin, Program, Response, Setup, free_port, guests, until};

/// The program that makes spans of its own.
const GUEST: &str = "otel";

pub(crate) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub(crate) const PARENT: &str = "00f067aa0ba902b7";

/// The parts of OTLP's `trace_service.proto`, `trace.proto` and `common.proto` that a test reads.
#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<OtlpResource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OtlpResource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
    #[prost(message, optional, tag = "15")]
    status: Option<SpanStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SpanStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// One of them is set.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}

/// A collector on a free port.
struct Collector {
    origin: Origin,
    exports: Arc<Mutex<Vec<Export>>>,
}

impl Collector {
    fn start() -> Collector {
        let exports = Arc::<Mutex<Vec<Export>>>::default();
        let received = exports.clone();
        let origin = Origin::of("127.0.0.1", move |head, stream| {
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("application/x-protobuf"), "{head}");
            let body = read_body(head, stream).unwrap();
            received.lock().unwrap().push(Export::decode(&*body).unwrap());
            let _told = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        });
        Collector { origin, exports }
    }

    /// Lets a daemon send its spans here, at once.
    fn of(&self, setup: Setup, settings: &str) -> Setup {
        let endpoint = format!("http://127.0.0.1:{}", self.origin.port());
        setup
            .add(&format!("\n[traces]\nendpoint = \"{endpoint}\"\n{settings}\n"))
            .env("OTEL_BSP_SCHEDULE_DELAY", "10")
    }

    fn spans(&self) -> Vec<Span> {
        let exports = self.exports.lock().unwrap().clone();
        let scopes = exports.into_iter().flat_map(|export| export.resources).flat_map(|one| one.scopes);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// Waits until there are this many spans.
    fn received(&self, count: usize) -> Vec<Span> {
        until(&format!("{count} spans"), || Some(self.spans()).filter(|spans| spans.len() >= count))
    }
}

impl Span {
    fn trace(&self) -> String {
        hex(&self.trace_id)
    }

    fn attribute(&self, key: &str) -> Option<String> {
        let found = self.attributes.iter().find(|attribute| attribute.key == key)?;
        let value = found.value.as_ref()?;
        value.text.clone().or_else(|| value.number.map(|number| number.to_string()))
    }

    fn is_error(&self) -> bool {
        // STATUS_CODE_ERROR.
        self.status.as_ref().is_some_and(|status| status.code == 2)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Shows spans as a tree: each name after those of its parents.
fn tree(spans: &[Span]) -> Vec<String> {
    let path = |span: &Span| {
        let mut names = vec![span.name.clone()];
        let mut parent = &span.parent_span_id;
        while let Some(above) = spans.iter().find(|other| other.span_id == *parent) {
            names.push(above.name.clone());
            parent = &above.parent_span_id;
        }
        names.reverse();
        names.join(" > ")
    };
    let mut paths: Vec<String> = spans.iter().map(path).collect();
    paths.sort();
    paths
}

/// Sends a request with a parent.
fn traced(daemon: &Daemon, target: &str) -> Response {
    let field = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1\r\n");
    daemon.client().submit("GET", target, &field, b"")
}

#[test]
fn a_request_is_one_trace_over_gate_queue_guest_outbound_call_and_a_nested_job() {
    let (collector, origin) = (Collector::start(), Origin::text("127.0.0.1", "hello"));
    let url = format!("http://127.0.0.1:{}", origin.port());
    let read = |name: &str| std::fs::read(guests().join(name)).unwrap();
    let front = format!(
        "output = \"raw\"\nargs = [\"call\", \"back\", \"itself\", \"{url}/a?token=s3cret\"]\ncalls = [\"back\"]"
    );
    let back = format!("allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.1\"]");
    let setup = Setup::new("access_log = \"json\"\n").handler("front", &front, &read("calls.wasm")).handler(
        "back",
        &back,
        &read("fetch-wasip2.wasm"),
    );
    let mut daemon = collector.of(setup, "trust = \"everybody\"").start();

    let response = traced(&daemon, "/front");

    assert!(response.text().contains("200 hello"), "{response:?}");
    let spans = collector.received(11);
    let wanted = [
        "GET /front",
        "GET /front > front",
        "GET /front > front > back",
        "GET /front > front > back > GET",
        "GET /front > front > back > guest",
        "GET /front > front > back > instantiate",
        "GET /front > front > back > queue",
        "GET /front > front > guest",
        "GET /front > front > instantiate",
        "GET /front > front > queue",
        "GET /front > gate",
    ];
    assert_eq!(tree(&spans), wanted);
    assert!(spans.iter().all(|span| span.trace() == TRACE && span.trace_state == "a=1"), "{spans:?}");
    assert!(spans.iter().all(|span| span.start <= span.end && span.start > 1_700_000_000_000_000_000));
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let request = named("GET /front");
    // SPAN_KIND_SERVER and SPAN_KIND_CLIENT.
    assert_eq!((hex(&request.parent_span_id).as_str(), request.kind), (PARENT, 2));
    assert_eq!((named("GET").kind, named("front").kind), (3, 1));
    for (span, key, value) in [
        ("GET /front", "http.request.method", "GET"),
        ("GET /front", "http.route", "/front"),
        ("GET /front", "url.path", "/front"),
        ("GET /front", "url.scheme", "http"),
        ("GET /front", "http.response.status_code", "200"),
        ("GET /front", "client.address", "127.0.0.1"),
        ("front", "faas.trigger", "http"),
        ("back", "faas.trigger", "other"),
        ("back", "faas.name", "back"),
        ("GET", "url.full", url.as_str()),
        ("GET", "server.address", "127.0.0.1"),
        ("GET", "http.response.status_code", "200"),
    ] {
        assert_eq!(named(span).attribute(key).as_deref(), Some(value), "{span}: {key}");
    }
    // The server that is called goes on with the span of the call.
    let sent = format!("traceparent: 00-{TRACE}-{}-01\r\n", hex(&named("GET").span_id));
    let head = &origin.heads()[0];
    assert!(head.contains(&sent) && head.contains("tracestate: a=1\r\n"), "{head}");
    let exports = collector.exports.lock().unwrap().clone();
    let resource = exports[0].resources[0].resource.as_ref().unwrap();
    let service = resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
    assert_eq!(service.value.as_ref().unwrap().text.as_deref(), Some("portcullis"));
    daemon.log.line(&format!("\"trace_id\":\"{TRACE}\""));
    assert_eq!(daemon.terminate().code, Some(0));
}

#[test]
fn a_parent_that_is_not_trusted_reaches_neither_the_trace_nor_the_handler() {
    let collector = Collector::start();
    let setup = Setup::one("", &Program::text().environment().wasm());
    let daemon = collector.of(setup, "").start();

    let response = traced(&daemon, "/");
    let text = response.text();

    let spans = collector.received(6);
    let job = spans.iter().find(|span| span.name == "one").unwrap();
    assert!(job.trace() != TRACE && spans.iter().all(|span| span.trace() == job.trace()), "{spans:?}");
    let parent = format!("TRACEPARENT=00-{}-{}-01\0", job.trace(), hex(&job.span_id));
    assert!(text.contains(&format!("\0{parent}")) && text.contains(&format!("HTTP_{parent}")), "{text}");
    assert!(!text.contains(TRACE) && !text.contains("TRACESTATE"), "{text}");
}

#[test]
fn trusted_proxies_may_name_a_parent_and_their_decision_to_sample_is_kept() {
    let collector = Collector::start();
    let setup =
        Setup::one("", &Program::text().say("ok").wasm()).prepend("trusted_proxies = [\"127.0.0.1\"]\n");
    let daemon = collector.of(setup, "ratio = 0").start();
    assert_eq!(daemon.get("/").status(), 200);

    assert_eq!(traced(&daemon, "/").status(), 200);

    // The request without a parent is not sampled, as of none in a hundred.
    let spans = collector.received(6);
    assert_eq!(spans.len(), 6);
    assert!(spans.iter().all(|span| span.trace() == TRACE), "{spans:?}");
}

#[test]
fn a_failure_is_kept_though_its_trace_is_not_sampled() {
    let collector = Collector::start();
    let setup = Setup::one("", &Program::text().say("ok").wasm()).handler(
        "bad",
        "",
        &Program::new().complain("no such row\n").trap().wasm(),
    );
    let daemon = collector.of(setup, "ratio = 0.0").start();

    for path in ["/", "/bad", "/", "/none"] {
        daemon.get(path);
    }

    let spans = collector.received(6);
    assert_eq!(tree(&spans)[..2], ["GET /bad", "GET /bad > bad"]);
    assert_eq!(spans.len(), 6, "{spans:?}");
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    assert!(named("bad").is_error() && named("GET /bad").is_error());
    assert_eq!(named("bad").attribute("error.type").as_deref(), Some("trapped"));
    assert_eq!(named("GET /bad").attribute("http.response.status_code").as_deref(), Some("502"));
}

#[test]
fn a_collector_that_is_down_is_one_warning_and_a_metric_and_delays_nobody() {
    let free = free_port();
    let mut daemon = Setup::one("", &Program::text().say("ok").wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
        .add(&format!("\n[traces]\nendpoint = \"http://127.0.0.1:{free}\"\n"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .start();

    assert_eq!(daemon.get("/").status(), 200);
    daemon.counted("portcullis_trace_spans_dropped_total", &["not_delivered"], 6.0);
    assert_eq!(daemon.get("/").status(), 200);
    daemon.counted("portcullis_trace_spans_dropped_total", &["not_delivered"], 12.0);

    assert_eq!(daemon.metric("portcullis_trace_spans_sent_total", &[]), 0.0);
    let text = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    let wanted =
        format!("to http://127.0.0.1:{free}/v1/traces, 100% of new traces, parents from trusted proxies");
    assert!(text.contains(&wanted) && text.contains("0 spans sent, 12 dropped"), "{text}");
    assert_eq!(daemon.terminate().code, Some(0));
    let log = daemon.log.text();
    assert_eq!(log.matches("spans are dropped until").count(), 1, "{log}");
}

#[test]
fn what_is_queued_is_sent_before_the_daemon_ends() {
    let collector = Collector::start();
    let setup = Setup::one("", &Program::text().say("ok").wasm());
    let mut daemon = collector.of(setup, "").env("OTEL_BSP_SCHEDULE_DELAY", "3600000").start();
    assert_eq!(daemon.get("/").status(), 200);

    assert_eq!(daemon.terminate().code, Some(0));

    assert_eq!(collector.spans().len(), 6);
}

#[test]
fn a_component_makes_spans_of_its_own_below_its_job_and_no_more_than_it_may() {
    let collector = Collector::start();
    let module = std::fs::read(guests().join(format!("{GUEST}-wasip2.wasm"))).unwrap();
    let setup = Setup::one("output = \"raw\"", &module).prepend("admin = \"unix://admin.sock\"\n");
    let daemon = collector.of(setup, "").start();

    let response = daemon.get("/");
    let text = response.text();

    let spans = collector.received(6 + 128);
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (job, own) = (named("one"), named("own"));
    let wanted = format!("{} {} true\ntrue\ntrue\n", job.trace(), hex(&job.span_id));
    assert_eq!(text, wanted);
    assert_eq!((own.trace(), &own.parent_span_id), (job.trace(), &job.span_id));
    assert_eq!(own.attribute("rows").as_deref(), Some("3"));
    // Whose span it is, is the daemon's word.
    assert_eq!(own.attribute("faas.name").as_deref(), Some("one"));
    assert!(own.is_error() && own.status.as_ref().unwrap().message == "no rows");
    assert_eq!(spans.iter().filter(|span| span.name == "one of many").count(), 127);
    assert!(spans.iter().all(|span| span.trace() == job.trace()), "{spans:?}");
    daemon.counted("portcullis_trace_spans_dropped_total", &["trace_limit"], 170.0);
}

#[test]
fn a_scheduled_run_and_the_operations_of_a_job_are_traced() {
    let collector = Collector::start();
    let module = std::fs::read(guests().join("stores.wasm")).unwrap();
    let setup = Setup::new(
        "[store.default]\nurl = \"memory:\"\n[handler.tick]\nmodule = \"tick.wasm\"\n\
         schedule = \"* * * * * *\"\nstores = [\"default\"]\nargs = [\"sdk\"]\n",
    )
    .file("tick.wasm", &module);
    let _daemon = collector.of(setup, "").start();

    let spans = collector.received(5);

    let job = spans.iter().find(|span| span.name == "tick").unwrap();
    assert_eq!(job.attribute("faas.trigger").as_deref(), Some("timer"));
    let operation = spans.iter().find(|span| span.name == "store default").unwrap();
    assert_eq!(operation.parent_span_id, job.span_id);
    assert_eq!(operation.attribute("db.namespace").as_deref(), Some("default"));
}

#[test]
fn a_variable_that_cannot_be_honoured_stops_the_start_with_advice() {
    let setup = Setup::one("", &Program::text().say("ok").wasm())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");

    let ended = setup.fail();

    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\" is not spoken"), "{}", ended.stderr);
}
