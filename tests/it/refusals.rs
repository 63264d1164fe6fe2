//! Requests that are refused before any handler, or hyper, sees them: each is answered, counted and logged alike.

use std::collections::BTreeMap;

use crate::harness::frames::{Frames, flag, frame, get, head, kind};
use crate::harness::{Daemon, Program, Setup};

const COUNTED: &str = "portcullis_refused_total";

fn setup(lines: &str) -> Setup {
    let setup = Setup::one("", &Program::text().say("hello\n").wasm());
    let admin = setup.path("admin.sock");
    setup.prepend(&format!("admin = \"unix://{}\"\n{lines}", admin.display()))
}

fn daemon() -> Daemon {
    setup("access_log = true\nreason_header = true\n").start()
}

/// A refused request head, its status, its reason, and the beginning of its log line.
const EARLY: &[(&[u8], u16, &str, &str)] = &[
    (b"GET /a HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "malformed_request", "GET /a -> 400 "),
    (
        b"GET /b\"<\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "malformed_request",
        "GET /b\\\"<\\u{1b}[31m -> 400 ",
    ),
    (b"nonsense\r\n\r\n", 400, "malformed_request", "INFO \"nonsense\" -> 400 "),
    (b"\r\n\r\n", 400, "malformed_request", "- -> 400 "),
    (
        b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
        413,
        "body_limit",
        "POST /c -> 413 ",
    ),
    (
        b"POST /d HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        413,
        "body_limit",
        "POST /d -> 413 ",
    ),
    (b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417, "expectation_failed", "POST /e -> 417 "),
    (b"TRACE /f HTTP/1.1\r\nHost: a\r\n\r\n", 501, "not_implemented", "TRACE /f -> 501 "),
    (
        b"POST /g HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        501,
        "not_implemented",
        "POST /g -> 501 ",
    ),
    (b"GET /h HTTP/3.0\r\nHost: a\r\n\r\n", 505, "http_version", "INFO \"GET /h HTTP/3.0\" -> 505 "),
    // Its path imitates a log line about an answered request.
    (
        b"GET /k -> 200 hello@0123456789ab 6 bytes in 1.0ms for 127.0.0.1:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "malformed_request",
        "INFO \"GET /k -> 200 hello@0123456789ab 6 bytes in 1.0ms for 127.0.0.1:1\" -> 400 ",
    ),
    (b"GET  /l\" HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request", "INFO \"GET  /l\\\"\" -> 400 "),
];

#[test]
fn the_earliest_refusals_are_told_counted_and_logged_like_all_others() {
    let daemon = daemon();
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
    let large = format!("GET /i HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let many = format!("GET /j HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101));
    let rows = [
        (long.as_bytes(), 414, "target_too_long", "GET /xxx"),
        (large.as_bytes(), 431, "head_too_large", "GET /i -> 431 "),
        (many.as_bytes(), 431, "head_too_large", "GET /j -> 431 "),
    ];
    for (bytes, status, reason, line) in EARLY.iter().copied().chain(rows) {
        let before = daemon.so_far(COUNTED, &[&format!("reason=\"{reason}\"")]);
        let mut client = daemon.client();

        client.send(bytes);

        let response = client.response();
        let shown = bytes[..bytes.len().min(100)].escape_ascii().to_string();
        assert_eq!(
            (response.status(), response.field("x-portcullis-reason")),
            (status, Some(reason)),
            "{shown}"
        );
        assert_eq!(response.field("content-type"), Some("text/plain; charset=utf-8"), "{shown}");
        assert_eq!(response.field("connection"), Some("close"), "{shown}");
        assert!(
            response.text().len() > 10 && response.text().ends_with('\n'),
            "{shown}: {}",
            response.text()
        );
        assert!(client.rest().is_empty(), "{shown}");
        let logged = daemon.log.line(line);
        let from = format!("({reason}) for {}", client.socket().local_addr().unwrap());
        assert!(logged.ends_with(&from), "{logged}");
        daemon.counted(COUNTED, &[&format!("reason=\"{reason}\"")], before + 1.0);
    }
}

/// Refused heads whose bad byte comes before the end of its line, with the status and the reason.
const BAD_BYTES: &[(&[u8], u16, &str)] = &[
    (b"GET /r/x HTTP/1.1\r\nHost: a\r\nX\x7fY: 1\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400, "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n", 400, "malformed_request"),
    (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    (b"G\x80T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    (b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
];

#[test]
fn a_head_is_refused_told_and_logged_alike_wherever_it_is_cut() {
    let daemon = daemon();
    let good = &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..];
    let early = EARLY.iter().map(|(head, status, reason, _)| (*head, *status, *reason));
    let mut refused = BTreeMap::new();
    for (head, status, reason) in early.chain(BAD_BYTES.iter().copied()) {
        for cut in 1..head.len() {
            let (first, second) = head.split_at(cut);
            let mut client = daemon.client();
            // The daemon reads the first piece with the request before it, and the second one later.
            client.send([good, first].concat());
            assert_eq!(client.response().status(), 200);

            // The first piece may be refused by itself.
            let _sent = client.try_send(second);

            let response = client.response();
            let shown = format!("{} cut at {cut}", head.escape_ascii());
            let told = (response.status(), response.field("x-portcullis-reason"));
            assert_eq!(told, (status, Some(reason)), "{shown}");
            assert!(client.rest().is_empty(), "{shown}");
            *refused.entry(reason).or_insert(0) += 1;
        }
    }
    for (reason, count) in refused {
        let lines = daemon.log.lines(count, &format!(" ({reason}) for "));
        assert_eq!(lines.len(), count, "{reason}");
        daemon.counted(COUNTED, &[&format!("reason=\"{reason}\"")], f64::from(u32::try_from(count).unwrap()));
    }
}

#[test]
fn a_first_byte_that_begins_no_request_is_refused_without_waiting_for_the_end_of_its_line() {
    let daemon = daemon();
    for byte in [b"\0", b" ", b"\x7f", b"\x80", b"\t"] {
        let mut client = daemon.client();

        client.send(byte);

        let response = client.response();
        let told = (response.status(), response.field("x-portcullis-reason"));
        assert_eq!(told, (400, Some("malformed_request")), "{}", byte.escape_ascii());
        assert!(client.rest().is_empty());
    }
    assert_eq!(daemon.log.lines(5, " (malformed_request) for ").len(), 5);
}

#[test]
fn a_later_refusal_has_the_same_line_and_count() {
    let daemon = daemon();
    let mut client = daemon.client();

    let response = client.get("/nowhere");

    assert_eq!(response.field("x-portcullis-reason"), Some("no_route"));
    let logged = daemon.log.line("GET /nowhere -> 404 ");
    let from = format!(" (no_route) for {}", client.socket().local_addr().unwrap());
    assert!(logged.ends_with(&from), "{logged}");
    daemon.counted(COUNTED, &["reason=\"no_route\""], 1.0);
}

#[test]
fn a_refusal_of_the_admin_socket_is_not_counted_among_those_of_requests() {
    let daemon = daemon();
    let mut client = crate::harness::Client::unix(&daemon.path("admin.sock"));

    client.send("GET /metrics HTTP/1.1\r\n\r\n");

    assert_eq!(client.response().status(), 400);
    assert_eq!(daemon.so_far(COUNTED, &[]), 0.0);
}

#[test]
fn an_early_refusal_of_the_admin_socket_is_logged_as_every_other_of_it_whatever_clients_are() {
    for lines in ["", "access_log = true\n"] {
        let daemon = setup(lines).start();
        let mut client = crate::harness::Client::unix(&daemon.path("admin.sock"));

        client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX : b\r\n\r\n");

        assert_eq!(client.response().status(), 400);
        assert!(daemon.log.line("admin: GET /metrics by unix uid=").ends_with(": refused"));
        assert_eq!(daemon.log.count(" -> 400"), 0);
    }
}

#[test]
fn without_the_settings_an_early_refusal_says_why_in_its_text_alone() {
    let daemon = setup("").start();
    let mut client = daemon.client();

    client.send("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n");

    let response = client.response();
    assert_eq!(response.text(), "malformed request: a header field whose name is not a token\n");
    assert_eq!(response.field("x-portcullis-reason"), None);
    assert_eq!(daemon.log.count("-> 400"), 0);
}

#[test]
fn a_connection_that_floods_is_counted_and_logged() {
    let daemon = daemon();
    let mut client = Frames::begin(daemon.client(), &[]);
    let from = client.0.socket().local_addr().unwrap();

    while client.try_send(frame(kind::PING, 0, 0, &[0; 8]).repeat(100)).is_ok() {}

    assert!(
        daemon
            .log
            .line("- -> closed: frames that carry nothing of a request (flood)")
            .ends_with(&format!(" for {from}"))
    );
    daemon.counted(COUNTED, &["reason=\"flood\""], 1.0);
}

#[test]
fn what_h2_refuses_by_itself_is_counted_and_logged() {
    let daemon = setup("access_log = true\n").start();
    let mut client = Frames::begin(daemon.client(), &[]);
    let from = format!(" for {}", client.0.socket().local_addr().unwrap());
    // More than twice the maximum of a request head.
    let large = "x".repeat(70_000);
    for (stream, flags) in [(1, flag::END_STREAM), (3, 0), (5, flag::END_STREAM)] {
        client.send(in_frames(&head(stream, "POST", "/", &[("x", &large)], flags)));
        let answer = client.next();
        assert_eq!((answer.kind, answer.stream, answer.ends()), (kind::HEADERS, stream, true));
        if flags == 0 {
            // RST_STREAM stops the client from sending the rest of the request.
            assert_eq!((client.next().kind, answer.stream), (kind::RST_STREAM, stream));
        }
    }

    client.send(head(7, "GET", "/", &[("connection", "close")], flag::END_STREAM));
    assert_eq!(client.next().code(), 1);
    client.send(frame(kind::DATA, 0, 9, b"of no stream"));
    assert_eq!((client.next().kind, client.0.rest()), (kind::GOAWAY, vec![]));

    for (count, line, reason) in [
        (3, "INFO - -> 431 0 bytes (head_too_large)", "head_too_large"),
        (1, "INFO - -> reset: PROTOCOL_ERROR (malformed_request)", "malformed_request"),
        (1, "INFO - -> closed: PROTOCOL_ERROR (malformed_request)", "malformed_request"),
    ] {
        let lines = daemon.log.lines(count, line);
        assert!(lines.len() == count && lines.iter().all(|line| line.ends_with(&from)), "{lines:?}");
        let of_reason = if reason == "head_too_large" { 3.0 } else { 2.0 };
        daemon.counted(COUNTED, &[&format!("reason=\"{reason}\"")], of_reason);
    }
}

#[test]
fn an_option_of_the_whole_server_is_answered_with_what_its_routes_may_be_for() {
    let daemon = daemon();
    let mut client = daemon.client();

    let response = client.ask("OPTIONS", "*", "");

    assert_eq!(response.status(), 204);
    assert_eq!(response.field("allow"), Some("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"));
    assert_eq!(client.get("/").text(), "hello\n");
    let mut client = Frames::begin(daemon.client(), &[]);
    client.send(head(1, "OPTIONS", "*", &[], flag::END_STREAM));
    assert_eq!(client.answer(1).status, 204);
    client.send(head(3, "GET", "*", &[], flag::END_STREAM));
    assert_eq!(client.answer(3).status, 400);
}

#[test]
fn a_stream_that_http_1_would_refuse_is_refused_alone() {
    let daemon = daemon();
    let mut client = Frames::begin(daemon.client(), &[]);
    let large = "x".repeat(40_000);
    let mut stream = 1;
    for (fields, status) in [
        (&[("x", " a")][..], 400),
        (&[("x", "a ")], 400),
        (&[("x", "a\t")], 400),
        (&[("x", "")], 200),
        (&[("x", "a b")], 200),
        (&[("host", "TEST:80")], 200),
        (&[("host", "test:443")], 400),
        (&[("host", "test"), ("host", "test")], 400),
        (&[("content-length", "0")], 200),
        (&[("content-length", "0"), ("content-length", "0")], 400),
        (&[("expect", "x")], 417),
        (&[("x", &large)], 431),
    ] {
        let block = head(stream, "GET", "/", fields, flag::END_STREAM);
        client.send(in_frames(&block));

        let answer = client.answer(stream);

        assert_eq!(answer.status, status, "{:?}", fields[0].0);
        assert!(!answer.body.is_empty());
        stream += 2;
    }
    daemon.counted(COUNTED, &["reason=\"malformed_request\""], 6.0);
    client.send(get(stream, "/"));
    assert_eq!(client.answer(stream).status, 200);
}

/// Splits a HEADERS frame that is too large for one frame.
fn in_frames(whole: &[u8]) -> Vec<u8> {
    let (flags, stream) = (whole[4], u32::from_be_bytes(whole[5..9].try_into().unwrap()));
    let mut pieces = whole[9..].chunks(16_000).peekable();
    let first = pieces.next().unwrap();
    let ends = |last: bool| if last { flag::END_HEADERS } else { 0 };
    let mut all =
        frame(kind::HEADERS, flags & flag::END_STREAM | ends(pieces.peek().is_none()), stream, first);
    while let Some(piece) = pieces.next() {
        all.extend(frame(kind::CONTINUATION, ends(pieces.peek().is_none()), stream, piece));
    }
    all
}

#[test]
fn an_odd_scheme_is_refused_and_an_odd_path_as_well() {
    let daemon = daemon();
    let ask = |scheme: &str, path: &str| {
        let fields = [(":method", "GET"), (":scheme", scheme), (":path", path), (":authority", "test")];
        let mut client = Frames::begin(daemon.client(), &[]);
        let block = crate::harness::frames::block(&fields);
        client.send(frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block));
        client.answer(1).status
    };

    assert_eq!((ask("http", "/"), ask("https", "/")), (200, 200));
    assert_eq!((ask("ftp", "/"), ask("javascript", "/")), (400, 400));
    assert_eq!((ask("http", "?a"), ask("http", "/nowhere#x")), (400, 404));
}
