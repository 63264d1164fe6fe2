//! Trace contexts: the parent that a job, its calls and other servers see, and the variables that set up traces.

use std::fs;
use std::sync::{Arc, Mutex};

use crate::harness::origin::read_body;
use crate::harness::{Daemon, Origin, Program, Response, Setup, guests, until};
use crate::traces::{PARENT, TRACE};

/// The table that traces requests and trusts the parent of every client. Nothing listens on port 1.
pub(crate) const TRUSTING: &str = "\n[traces]\nendpoint = \"http://127.0.0.1:1\"\ntrust = \"everybody\"\n";

/// Makes the field of a request whose parent has these flags.
pub(crate) fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

/// Traces requests, trusts the parent of every client, and has no collector.
fn trusting(setup: Setup) -> Setup {
    setup.prepend("admin = \"unix://admin.sock\"\n").add(TRUSTING).env("OTEL_BSP_SCHEDULE_DELAY", "10")
}

/// Sends a request with these fields, which are whole lines.
fn ask(daemon: &Daemon, target: &str, fields: &str) -> Response {
    daemon.client().submit("GET", target, fields, b"")
}

/// Returns the value behind a name in a list of variables or fields. `None` if it is not there.
fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.split(['\0', '\n']).find_map(|line| line.strip_prefix(name))
}

/// Splits a `traceparent` into the trace, the span and the flags.
fn parts(parent: &str) -> [&str; 3] {
    let parts: Vec<&str> = parent.split('-').collect();
    assert!(parts.len() == 4 && parts[0] == "00" && parts[2].len() == 16, "{parent}");
    [parts[1], parts[2], parts[3]]
}

#[test]
fn a_job_a_job_that_it_calls_and_a_component_have_spans_of_their_own_in_the_trace_of_the_client() {
    let read = |name: &str| fs::read(guests().join(name)).unwrap();
    let front = "output = \"raw\"\nargs = [\"call\", \"back\", \"env\"]\ncalls = [\"back\"]";
    let setup = Setup::new("")
        .handler("own", "", &Program::text().environment().wasm())
        .handler("front", front, &read("calls.wasm"))
        .handler("back", "output = \"raw\"", &read("calls.wasm"))
        .add("\n[handler.p]\nmodule = \"p.wasm\"\n[[route]]\npath = \"/facts\"\nhandler = \"p\"\n")
        .file("p.wasm", &read("proxy.wasm"));
    let daemon = trusting(setup).start();
    let mut spans = vec![PARENT.to_owned()];

    for (target, prefix, [parent, state]) in [
        ("/own", "", ["TRACEPARENT=", "TRACESTATE="]),
        ("/own", "HTTP_", ["TRACEPARENT=", "TRACESTATE="]),
        ("/front", "", ["TRACEPARENT=", "TRACESTATE="]),
        ("/facts", "field ", ["traceparent: ", "tracestate: "]),
    ] {
        let fields = traceparent("01") + "tracestate: a=1\r\ntracestate: b=2 , c=3\r\n";
        let response = ask(&daemon, target, &fields);
        let text = response.text();

        let found = |name: &str| value(text, &format!("{prefix}{name}")).unwrap_or_else(|| panic!("{text}"));
        let [trace, span, flags] = parts(found(parent));
        assert_eq!((trace, flags, found(state)), (TRACE, "01", "a=1,b=2,c=3"), "{target}");
        assert!(!spans.iter().any(|other| other == span), "{target}: {spans:?}");
        spans.push(span.to_owned());
    }
}

#[test]
fn a_parent_that_is_malformed_begins_another_trace_and_a_state_that_is_too_long_is_left_out() {
    let daemon = trusting(Setup::one("", &Program::text().environment().wasm())).start();
    let state = "tracestate: a=1\r\n";
    let good = traceparent("01");
    let long = format!("tracestate: {}\r\n", vec![format!("a={}", "x".repeat(100)); 6].join(","));
    for (fields, is_believed) in [
        (format!("{good}{long}"), true),
        (format!("{good}tracestate: not a member\r\n"), true),
        (format!("{good}tracestate: a=1,=2\r\n"), true),
        (format!("{good}{good}{state}"), false),
        (format!("{}{state}", good.to_uppercase()), false),
        (format!("{}{state}", good.replace("00-4bf", "ff-4bf")), false),
        (format!("{}{state}", good.replace("-01", "-01-more")), false),
        (format!("{}{state}", good.replace(TRACE, &"0".repeat(32))), false),
        (format!("traceparent: {TRACE}\r\n{state}"), false),
        (state.to_owned(), false),
    ] {
        let response = ask(&daemon, "/", &fields);
        let text = response.text();

        let [trace, span, flags] = parts(value(text, "TRACEPARENT=").unwrap_or_else(|| panic!("{text}")));
        assert_eq!(trace == TRACE, is_believed, "{fields}: {trace}");
        assert!(trace.len() == 32 && span != PARENT && flags == "01", "{fields}: {trace} {span} {flags}");
        assert_eq!(value(text, "TRACESTATE="), None, "{fields}");
    }
}

#[test]
fn a_guest_cannot_put_its_call_into_another_trace() {
    const OTHER: &str = "0af7651916cd43dd8448eb211c80319c";
    let origin = Origin::text("127.0.0.1", "hello");
    let url = format!("http://127.0.0.1:{}", origin.port());
    let module = fs::read(guests().join("fetch-wasip2.wasm")).unwrap();
    let settings = format!("allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.1\"]");
    let daemon = trusting(Setup::one(&settings, &module)).start();
    let calls = format!(
        "GET {url}/a header traceparent 00-{OTHER}-{PARENT}-01\nGET {url}/b header tracestate x=forged"
    );

    let fields = traceparent("01") + "tracestate: a=1\r\n";
    let response = daemon.client().submit("POST", "/", &fields, calls.as_bytes());

    assert_eq!(response.text(), "200 hello\n200 hello\n");
    for head in origin.heads() {
        let parents: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("traceparent: ")).collect();
        assert_eq!(parents.len(), 1, "{head}");
        let [trace, span, _] = parts(parents[0]);
        assert!(trace == TRACE && span != PARENT, "{head}");
        assert!(head.contains("tracestate: a=1\r\n") && !head.contains("forged"), "{head}");
    }
    assert_eq!(origin.heads().len(), 2);
}

#[test]
fn a_failure_is_kept_though_its_caller_has_not_sampled_it_and_a_success_is_not() {
    let setup =
        Setup::one("", &Program::text().say("ok").wasm()).handler("bad", "", &Program::new().trap().wasm());
    let daemon = trusting(setup).start();
    let field = traceparent("00");

    for (target, status) in [("/", 200), ("/bad", 502), ("/", 200)] {
        assert_eq!(ask(&daemon, target, &field).status(), status);
    }

    // No collector takes spans. The daemon has tried to send those of the failure alone.
    daemon.counted("portcullis_trace_spans_dropped_total", &["not_delivered"], 6.0);
    daemon.counted("portcullis_requests_total", &["handler=\"one\""], 2.0);
    assert_eq!(daemon.metric("portcullis_trace_exports_failed_total", &[]), 1.0);
}

#[test]
fn the_environment_names_the_collector_its_credentials_the_service_and_the_share() {
    let bodies = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let received = bodies.clone();
    let collector = Origin::of("127.0.0.1", move |head, stream| {
        let body = read_body(head, stream).unwrap();
        received.lock().unwrap().push(body);
        let _told = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let endpoint = format!("http://127.0.0.1:{}/base", collector.port());
    let setup = || {
        Setup::one("", &Program::new().trap().wasm())
            .prepend("admin = \"unix://admin.sock\"\n")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret,x-tenant=a")
            .env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "")
            .env("OTEL_SERVICE_NAME", "shop")
            .env("OTEL_RESOURCE_ATTRIBUTES", "service.name=overridden,where=pre%20prod")
            .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
            .env("OTEL_TRACES_SAMPLER_ARG", "0.25")
            .env("OTEL_BSP_SCHEDULE_DELAY", "10")
    };
    let daemon = setup().start();
    let disabled = setup().env("OTEL_SDK_DISABLED", "true").start();

    // A failure is sent, whatever the share.
    assert_eq!((daemon.get("/").status(), disabled.get("/").status()), (502, 502));

    let body = until("the spans", || bodies.lock().unwrap().first().cloned());
    let has = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has("service.name") && has("shop") && has("pre prod"), "{}", body.escape_ascii());
    assert!(!has("overridden") && !has("pre%20prod"), "{}", body.escape_ascii());
    let head = &collector.heads()[0];
    assert!(head.starts_with("POST /base/v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer s3cret\r\n") && head.contains("x-tenant: a\r\n"), "{head}");
    let status = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    let told = format!("to {endpoint}/v1/traces, 25% of new traces, parents from trusted proxies");
    assert!(status.contains(&told), "{status}");
    assert!(!status.contains("s3cret") && daemon.log.count("s3cret") == 0, "{status}");
    daemon.counted("portcullis_trace_spans_sent_total", &[], 6.0);
    assert!(!disabled.metrics().contains("portcullis_trace_"), "{}", disabled.metrics());
    assert_eq!(collector.hits(), 1);
}

#[test]
fn a_collector_that_never_answers_delays_no_request_and_no_end() {
    let collector = Origin::of("127.0.0.1", |_, stream| {
        // Until the daemon gives up the connection.
        let mut piece = [0; 4096];
        while stream.read(&mut piece).is_ok_and(|read| read > 0) {}
    });
    let mut daemon = Setup::one("", &Program::text().say("ok").wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
        .add(&format!("\n[traces]\nendpoint = \"http://127.0.0.1:{}\"\n", collector.port()))
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
        .start();

    for number in 1..=3_i32 {
        assert_eq!(daemon.get("/").status(), 200);
        daemon.counted("portcullis_trace_spans_dropped_total", &["not_delivered"], f64::from(6 * number));
    }

    assert_eq!(daemon.metric("portcullis_trace_exports_failed_total", &[]), 3.0);
    assert_eq!(daemon.metric("portcullis_trace_spans_sent_total", &[]), 0.0);
    assert_eq!(daemon.terminate().code, Some(0));
    assert_eq!(daemon.log.count("spans are dropped until"), 1);
}
