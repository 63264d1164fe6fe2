//! Metrics: durations by part, handler and route, and both text formats.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, finish, found, guests};
use crate::tls::site::secure;
use crate::trace_contexts::TRUSTING;
use crate::traces::{PARENT, TRACE};

const PARTS: [&str; 4] = [
    "portcullis_job_queue_duration_seconds",
    "portcullis_job_instantiate_duration_seconds",
    "portcullis_job_guest_duration_seconds",
    "portcullis_http_response_send_duration_seconds",
];

/// Serves a program that sleeps for this long, at `/` and `/b/{x}`.
pub(crate) fn sleeping(time: Duration, settings: &str) -> Setup {
    Setup::one(settings, &Program::text().sleep(time).say("ok").wasm())
        .prepend("admin = \"unix://admin.sock\"\nobserve = [\"unix://look.sock\"]\naccess_log = true\n")
        .add("[[route]]\nhost = \"b.example\"\npath = \"/b/{x}\"\nhandler = \"one\"\n")
}

#[test]
fn without_histograms_requests_are_counted_and_no_durations_are() {
    let setup = sleeping(Duration::ZERO, "").prepend("histograms = false\n");
    let daemon = setup.start();

    daemon.get("/");

    daemon.counted("portcullis_http_requests_total", &["handler=\"one\"", "code=\"2xx\""], 1.0);
    let metrics = daemon.metrics();
    for part in PARTS {
        assert!(!metrics.contains(&format!("{part}_bucket")), "{metrics}");
    }
    assert!(!metrics.contains("portcullis_http_request_duration_seconds_bucket"), "{metrics}");
    assert!(!metrics.contains("portcullis_compile_duration_seconds"), "{metrics}");
}

#[test]
fn the_parts_of_a_request_are_measured_by_handler_and_the_whole_by_route() {
    let daemon = sleeping(Duration::from_millis(30), "").start();

    daemon.get("/");
    for _ in 0..2 {
        let mut client = daemon.client();
        client.send("GET /b/c HTTP/1.1\r\nHost: b.example\r\n\r\n");
        assert_eq!(client.response().text(), "ok");
    }

    for part in PARTS {
        daemon.counted(&format!("{part}_count"), &["handler=\"one\""], 3.0);
    }
    let [queue, instantiate, guest, send] =
        PARTS.map(|part| daemon.metric(&format!("{part}_sum"), &["handler=\"one\""]));
    assert!(
        queue == 0.0 && guest >= 0.09 && instantiate > 0.0 && send > 0.0,
        "{queue} {instantiate} {guest} {send}"
    );
    for (route, count) in [("route=\"/\"", 1.0), ("route=\"b.example/b/{x}\"", 2.0)] {
        let labels = ["handler=\"one\"", route];
        daemon.counted("portcullis_http_requests_total", &[labels[0], route, "code=\"2xx\""], count);
        daemon.counted("portcullis_http_request_duration_seconds_count", &labels, count);
        let fast = daemon
            .metric("portcullis_http_request_duration_seconds_bucket", &[labels[0], route, "le=\"0.025\""]);
        assert_eq!(fast, 0.0);
        assert!(daemon.metric("portcullis_http_request_duration_seconds_sum", &labels) >= 0.03 * count);
    }
    assert_eq!(daemon.metric("portcullis_http_response_body_bytes_total", &["handler=\"one\""]), 6.0);
}

#[test]
fn a_wait_for_a_slot_is_time_in_the_queue_and_not_of_the_guest() {
    let daemon = sleeping(Duration::from_secs(1), "limits.concurrency = 1").start();
    let (mut one, mut two) = (daemon.client(), daemon.client());
    one.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    daemon.counted("portcullis_jobs_running", &["handler=\"one\""], 1.0);

    two.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    assert_eq!((one.response().status(), two.response().status()), (200, 200));
    daemon.counted("portcullis_job_queue_duration_seconds_count", &["handler=\"one\""], 2.0);
    assert!(daemon.metric("portcullis_job_queue_duration_seconds_sum", &["handler=\"one\""]) > 0.0);
}

#[test]
fn a_client_that_leaves_is_counted_without_a_status() {
    let daemon = sleeping(Duration::from_secs(3600), "").start();
    let mut client = daemon.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    daemon.counted("portcullis_jobs_running", &["handler=\"one\""], 1.0);

    drop(client);

    daemon.counted("portcullis_http_requests_total", &["handler=\"one\"", "code=\"none\""], 1.0);
}

#[test]
fn no_method_host_or_path_of_a_client_makes_a_series() {
    let daemon = sleeping(Duration::ZERO, "").start();
    // Returns how many of the requests the handler has answered.
    let ask = |number: usize| {
        let asked = [
            ("GET", "/".to_owned(), format!("host{number}.example")),
            ("GET", format!("/b/{number}?x={number}"), "b.example".to_owned()),
            ("GET", format!("/nowhere/{number}"), format!("host{number}.example")),
            ("GET", format!("/b/{number}"), format!("host{number}.example")),
            (["PUT", "PURGE", "MADE-UP", "LOCK"][number % 4], "/".to_owned(), "b.example".to_owned()),
        ];
        let answered = asked.into_iter().filter(|(method, target, host)| {
            let mut client = daemon.client();
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
            client.response().status() == 200
        });
        answered.count()
    };
    let series = |answered: usize| {
        daemon.counted("portcullis_requests_total", &["handler=\"one\""], answered as f64);
        let text = daemon.metrics();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<BTreeSet<_>>()
    };
    let answered: usize = (0..4).map(&ask).sum();
    let before = series(answered);

    let more: usize = (4..28).map(&ask).sum();

    let after = series(answered + more);
    assert!(answered >= 8 && before.len() > 100, "{before:?}");
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn openmetrics_is_negotiated_and_its_exemplars_name_jobs_of_the_log() {
    let daemon = sleeping(Duration::from_millis(1), "").start();
    daemon.get("/");
    let logged = daemon.log.line("GET / -> 200 one@");
    let job = logged.split(['[', ']']).nth(1).unwrap();
    let mut observer = Client::unix(&daemon.path("look.sock"));

    let text = observer.ask("GET", "/metrics", "Accept: text/plain;version=0.0.4, */*;q=0.1\r\n");
    let openmetrics = observer.ask(
        "GET",
        "/metrics",
        "Accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4\r\n",
    );

    assert_eq!(text.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(!text.text().contains("job_id"), "{}", text.text());
    let media = openmetrics.field("content-type").unwrap();
    assert_eq!(media, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let written = openmetrics.text();
    let exemplar = format!(" # {{job_id=\"{job}\"}} ");
    let line = written.lines().find(|line| line.contains(&exemplar)).unwrap_or_else(|| panic!("{written}"));
    assert!(line.starts_with("portcullis_http_request_duration_seconds_bucket{"), "{line}");
    assert!(written.ends_with("# EOF\n"), "{written}");
    let families: Vec<&str> = written.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let names: BTreeSet<&str> = families.iter().map(|family| family.split(' ').next().unwrap()).collect();
    assert_eq!(names.len(), families.len(), "each family once: {families:?}");
}

#[test]
fn an_exemplar_names_the_trace_of_its_job_if_a_collector_gets_it() {
    const NOT_SENT: &str = "0af7651916cd43dd8448eb211c80319c";
    let daemon = sleeping(Duration::from_millis(1), "").add(TRUSTING).start();
    for (host, target, trace, flags) in [("test", "/", TRACE, "01"), ("b.example", "/b/c", NOT_SENT, "00")] {
        let mut client = daemon.client();
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\ntraceparent: 00-{trace}-{PARENT}-{flags}\r\n\r\n"
        ));
        assert_eq!(client.response().text(), "ok");
    }
    for route in ["route=\"/\"", "route=\"b.example/b/{x}\""] {
        daemon.counted("portcullis_http_request_duration_seconds_count", &["handler=\"one\"", route], 1.0);
    }

    let mut observer = Client::unix(&daemon.path("look.sock"));
    let metrics = observer.ask("GET", "/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n");

    let written = metrics.text();
    let exemplars: Vec<&str> = written.lines().filter(|line| line.contains(" # {job_id=\"")).collect();
    assert_eq!(exemplars.len(), 2, "{written}");
    for line in exemplars {
        let is_sent = line.contains("route=\"/\"");
        assert_eq!(line.contains(&format!("\",trace_id=\"{TRACE}\"}} ")), is_sent, "{line}");
        assert!(!line.contains(NOT_SENT), "{line}");
    }
}

/// Returns the path of a file for the monitoring of a daemon.
pub(crate) fn monitoring(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring").join(name)
}

/// Returns the words of a text that may be names of metrics.
pub(crate) fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("portcullis_") || word.starts_with("process_")).collect()
}

/// Serves over TLS, and has used a store, a database and traces.
pub(crate) fn keeping() -> Daemon {
    let module = |name: &str| fs::read(guests().join(name)).unwrap();
    let settings = |grants: &str| format!("output = \"raw\"\nargs = [\"sdk\"]\n{grants}\n");
    let setup = secure("", &Program::text().wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
        .add("[store.default]\nurl = \"memory:\"\n[database.app]\nurl = \"sqlite:app.sqlite\"\nconnections = 1\n")
        .add("[traces]\nendpoint = \"http://127.0.0.1:1\"\n")
        .handler("store", &settings("stores = [\"default\"]"), &module("stores.wasm"))
        .handler("database", &settings("databases = { main = \"app\" }"), &module("sql.wasm"));
    let socket = setup.path("web.sock");
    let daemon = setup.host("tcp://127.0.0.1:0").host(format!("unix://{}", socket.display())).start();
    let mut client = Client::unix(&socket);
    for path in ["/store", "/database"] {
        let response = client.get(path);
        assert_eq!(response.status(), 200, "{path}: {}", response.text());
    }
    daemon
}

#[test]
fn operations_of_stores_and_databases_have_their_distributions() {
    let daemon = keeping();

    for labels in [
        ["store=\"default\"", "operation=\"get\""],
        ["store=\"default\"", "operation=\"batch\""],
        ["database=\"app\"", "operation=\"statement\""],
    ] {
        let kind = labels[0].split('=').next().unwrap();
        let value = |name: &str| daemon.metric(&format!("portcullis_{kind}_{name}"), &labels);
        let (counted, ended) = (value("operation_duration_seconds_count"), value("operations_total"));
        assert!(counted > 0.0 && counted == ended, "{labels:?}: {counted} of {ended}");
        assert!(value("operation_duration_seconds_sum") > 0.0, "{labels:?}");
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let daemon = keeping();
    let text = daemon.metrics();
    let mut known = BTreeSet::new();
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = family.split_once(' ').unwrap();
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        known.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
    }

    for file in ["dashboard.json", "alerts.yml"] {
        let text = fs::read_to_string(monitoring(file)).unwrap();
        let asked = named(&text);
        let unknown: Vec<_> = asked.iter().filter(|name| !known.contains(**name)).collect();
        assert!(asked.len() >= 8 && unknown.is_empty(), "{file} asks for {unknown:?}");
    }
    let dashboard = fs::read_to_string(monitoring("dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics_and_the_rules() {
    if !found(&["promtool"], "prometheus") {
        return;
    }
    let daemon = sleeping(Duration::from_millis(1), "").start();
    daemon.get("/");
    daemon.counted("portcullis_requests_total", &["handler=\"one\""], 1.0);

    let metrics =
        finish(Command::new("promtool").args(["check", "metrics"]), daemon.metrics().as_bytes(), PATIENCE);
    let rules = finish(
        Command::new("promtool").args(["check", "rules"]).arg(monitoring("alerts.yml")),
        b"",
        PATIENCE,
    );

    let told =
        |ended: &crate::harness::Ended| String::from_utf8_lossy(&ended.stdout).into_owned() + &ended.stderr;
    assert_eq!((metrics.code, told(&metrics)), (Some(0), String::new()));
    assert_eq!(rules.code, Some(0), "{}", told(&rules));
}
