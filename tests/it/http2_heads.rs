//! Heads over HTTP/2, frame by frame: which are refused, and their deadline.

use std::time::{Duration, Instant};

use crate::harness::frames::{PREFACE, block, flag, frame, get, head, kind};
use crate::http2::{begin, daemon};

/// RFC 9113 §8.1 calls such a request malformed. h2 removes the field before our code sees the request, so the
/// field is harmless but cannot be refused.
#[test]
fn a_pseudo_field_among_trailers_is_left_out() {
    let daemon = daemon("");
    let mut frames = begin(&daemon);

    frames.send(head(1, "POST", "/echo", &[], 0));
    frames.send(frame(kind::DATA, 0, 1, b"body"));
    let trailers = block(&[(":method", "DELETE"), (":path", "/other")]);
    frames.send(frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &trailers));

    let answer = frames.answer(1);
    assert_eq!((answer.status, &answer.body[..]), (200, &b"body"[..]));
}

#[test]
fn an_authority_is_a_host_and_agrees_with_the_field() {
    let daemon = daemon("");
    let ask = |fields: &[(&str, &str)]| {
        let all = [&[(":method", "GET"), (":scheme", "http"), (":path", "/hello")], fields].concat();
        let mut client = begin(&daemon);
        client.send(frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block(&all)));
        client.answer(1).status
    };

    assert_eq!(ask(&[(":authority", "a"), ("host", "a")]), 200);
    assert_eq!(ask(&[("host", "a:80")]), 200);
    assert_eq!(ask(&[(":authority", "a"), ("host", "b")]), 400);
    assert_eq!(ask(&[]), 400);
    assert_eq!(ask(&[("host", "a b")]), 400);
}

#[test]
fn what_would_become_another_request_in_http_1_is_refused() {
    let daemon = daemon("");
    for field in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("upgrade", "h2c"),
        ("x", "a\r\ny: b"),
        ("x", "a\0b"),
        ("X-Upper", "a"),
        ("x y", "a"),
        ("content-length", "5"),
    ] {
        let mut client = begin(&daemon);

        client.send(head(1, "POST", "/echo", &[field], flag::END_STREAM));

        let end = client.next();
        assert!(matches!(end.kind, kind::RST_STREAM | kind::GOAWAY), "{field:?}: {end:?}");
    }
}

#[test]
fn pseudo_fields_that_are_repeated_missing_unknown_or_behind_others_are_refused() {
    const BAD_REQUEST: u16 = 400;
    let daemon = daemon("");
    let [method, scheme, path, authority] =
        [(":method", "GET"), (":scheme", "http"), (":path", "/hello"), (":authority", "test")];
    for fields in [
        &[method, method, scheme, path, authority][..],
        &[method, scheme, path, path, authority],
        &[method, scheme, path, authority, authority],
        &[scheme, path, authority],
        &[method, path, authority],
        &[method, scheme, authority],
        // Without `:authority`, h2 drops the scheme, and would allow an empty target.
        &[method, scheme, ("host", "test")],
        &[method, scheme, (":path", ""), authority],
        &[method, scheme, (":path", "hello"), authority],
        &[method, scheme, (":path", "http://test/hello"), authority],
        &[method, scheme, (":path", "/hello\x7f"), authority],
        &[method, scheme, path, (":authority", "")],
        &[method, scheme, path, (":authority", "u@test")],
        &[method, scheme, path, ("x", "a"), authority],
        &[method, scheme, path, authority, (":status", "200")],
        &[method, scheme, path, authority, (":protocol", "websocket")],
        &[method, scheme, path, authority, (":unknown", "a")],
    ] {
        let mut client = begin(&daemon);

        client.send(frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block(fields)));

        let end = client.next();
        let is_refused = match end.kind {
            kind::RST_STREAM | kind::GOAWAY => true,
            kind::HEADERS => end.status() == BAD_REQUEST,
            _ => false,
        };
        assert!(is_refused, "{fields:?}: {end:?}");
    }
}

#[test]
fn half_a_preface_is_given_the_deadline_of_a_head() {
    let daemon = daemon("[http]\nfirst_byte = \"400ms\"\nhead = \"400ms\"\n");
    for begun in [&PREFACE[..1], &PREFACE[..10], &PREFACE[..23]] {
        let mut client = daemon.client();

        client.send(begun);

        assert!(client.rest().is_empty());
    }
}

#[test]
fn a_head_without_its_end_is_closed_at_the_head_deadline_also_beside_a_request() {
    let daemon = daemon("[http]\nhead = \"400ms\"\n");
    let whole = get(3, "/hello");
    let mut open = whole.clone();
    // Without END_HEADERS.
    open[4] = flag::END_STREAM;
    let drops = [&open[..], &frame(kind::CONTINUATION, 0, 3, b"")].concat();
    for begun in [&open[..], &whole[..9], &whole[..whole.len() - 1], &drops] {
        let mut client = begin(&daemon);
        client.send(get(1, "/sleep"));
        let start = Instant::now();

        client.send(begun);

        client.0.rest();
        // The clock of the daemon rounds to milliseconds.
        assert!(start.elapsed() >= Duration::from_millis(398), "{:?}", start.elapsed());
    }
}

#[test]
fn a_head_of_two_frames_leaves_no_deadline_behind() {
    let daemon = daemon("[http]\nhead = \"1s\"\n");
    let fields =
        block(&[(":method", "GET"), (":scheme", "http"), (":path", "/hello"), (":authority", "test")]);
    let (first, second) = fields.split_at(3);
    let mut client = begin(&daemon);
    client.send(frame(kind::HEADERS, flag::END_STREAM, 1, first));
    client.send(frame(kind::CONTINUATION, flag::END_HEADERS, 1, second));
    assert_eq!(client.answer(1).status, 200);

    let _twice_the_deadline = client.0.is_silent_for(Duration::from_secs(2));

    client.send(get(3, "/hello"));
    assert_eq!(client.answer(3).body, b"hello\n");
}

#[test]
fn more_fields_than_allowed_are_a_431() {
    let daemon = daemon("[http]\nfields = 10\n");
    let ask = |count: usize| {
        let mut client = begin(&daemon);
        client.send(head(1, "GET", "/hello", &vec![("x", "y"); count], flag::END_STREAM));
        client.answer(1).status
    };

    assert_eq!((ask(10), ask(11)), (200, 431));
}
