//! Request smuggling past a server in front of the daemon: each case over a raw socket, byte for byte.

use crate::harness::{Daemon, Program, Setup};

fn daemon() -> Daemon {
    Setup::new("")
        .handler("hello", "", &Program::text().say("hello\n").wasm())
        .handler("echo", "", &Program::text().echo().wasm())
        .handler("deaf", "", &Program::text().say("not asked\n").wasm())
        .start()
}

/// A second request that the attacker hides after each case. It must never be answered.
const HIDDEN: &[u8] = b"GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";

/// Sends bytes, and returns the statuses of all answers until the connection closes.
fn statuses(daemon: &Daemon, bytes: &[u8]) -> Vec<u16> {
    let mut client = daemon.client();
    client.send(bytes);
    let answers = client.rest();
    let heads = answers.windows(9).enumerate().filter(|(_, window)| window == b"HTTP/1.1 ");
    // Error texts contain the version too; only a number after it is a status.
    heads.filter_map(|(at, _)| str::from_utf8(answers.get(at + 9..at + 12)?).ok()?.parse().ok()).collect()
}

/// Each is refused with this status. The connection is closed, and the bytes that follow are never parsed.
const REFUSED: &[(u16, &[u8])] = &[
    // Line endings.
    (400, b"GET /hello HTTP/1.1\nHost: test\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\n\n"),
    (400, b"GET /hello HTTP/1.1\nHost: test\n\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX: a\nY: b\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX: a\rY: b\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\rHost: test\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX: a\r\r\n\r\n"),
    (400, b"\r\n\r\nGET /hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"\nGET /hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    // Request lines.
    (400, b"GET  /hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET /hello  HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b" GET /hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET\t/hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1 \r\nHost: test\r\n\r\n"),
    (400, b"GET /hello\r\nHost: test\r\n\r\n"),
    (400, b"GET /hel lo HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET /hello\0 HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET /hello#x HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET * HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET ftp://test/hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"G\x80T /hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GE(T /hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET /hello HTTq/1.1\r\nHost: test\r\n\r\n"),
    (505, b"GET /hello HTTP/1.2\r\nHost: test\r\n\r\n"),
    (505, b"GET /hello HTTP/2.0\r\nHost: test\r\n\r\n"),
    (505, b"GET /hello HTTP/0.9\r\nHost: test\r\n\r\n"),
    (505, b"GET /hello HTTP/1.10\r\nHost: test\r\n\r\n"),
    (505, b"GET /hello HTTP/11\r\nHost: test\r\n\r\n"),
    (505, b"PRI * HTTP/2.0\r\n\r\n"),
    (400, b"PRI * HTTP/1.1\r\nHost: test\r\n\r\n"),
    (501, b"CONNECT test:80 HTTP/1.1\r\nHost: test\r\n\r\n"),
    (501, b"TRACE /hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    // Field names.
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX : a\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost : test\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX\t: a\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\n: a\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX a: b\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX\0: b\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX: a\r\n b\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX: a\r\n\tb\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\n Host: test\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX: a\0b\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX: a\x0bb\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: test\r\nX: a\x7fb\r\n\r\n"),
    // Host fields.
    (400, b"GET /hello HTTP/1.1\r\nX: a\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    (400, b"GET /hello HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    (400, b"GET http://a/hello HTTP/1.1\r\nHost: b\r\n\r\n"),
    (400, b"GET http://a:81/hello HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET https://a/hello HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    (400, b"GET http://a/hello#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, b"GET http://a/hello HTTP/1.1\r\nX: a\r\n\r\n"),
    (400, b"GET http://u@a/hello HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Content-Length.
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3, 3\r\n\r\nabc"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: +3\r\n\r\nabc"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: -3\r\n\r\nabc"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 0x3\r\n\r\nabc"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3 3\r\n\r\nabc"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3.0\r\n\r\nabc"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: \r\n\r\nabc"),
    (413, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 18446744073709551615\r\n\r\n"),
    (413, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length : 3\r\n\r\nabc"),
    // Transfer-Encoding.
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"),
    (400, b"POST /echo HTTP/1.0\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding:\n chunked\r\n\r\n0\r\n\r\n"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chun\0ked\r\n\r\n0\r\n\r\n"),
    (400, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    (501, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (501, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (501, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (501, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    (501, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    (501, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    (501, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
    (501, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    (501, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (501, b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
    // Paths.
    (400, b"GET /hello/../hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET /hello%00 HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET /hello%0d%0a HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET /hello%2 HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET /%2e%2e/hello HTTP/1.1\r\nHost: test\r\n\r\n"),
    (400, b"GET /%ff HTTP/1.1\r\nHost: test\r\n\r\n"),
    // Expect.
    (417, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nExpect: 200-ok\r\n\r\nabc"),
    (417, b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nExpect: 100-continue, x\r\n\r\nabc"),
];

#[test]
fn what_two_servers_could_read_in_two_ways_is_refused_and_the_connection_closed() {
    let daemon = daemon();
    for (status, row) in REFUSED {
        let bytes = [row, HIDDEN].concat();
        assert_eq!(statuses(&daemon, &bytes), [*status], "{}", row.escape_ascii());
    }
    assert!(REFUSED.len() >= 70);
}

#[test]
fn a_refusal_says_why() {
    let daemon = daemon();
    let mut client = daemon.client();

    client.send("GET /hello HTTP/1.1\nHost: test\n\n");

    let response = client.response();
    assert_eq!(response.text(), "malformed request: a line that does not end with CR LF\n");
    assert_eq!(response.field("connection"), Some("close"));
    assert!(client.rest().is_empty());
}

#[test]
fn requests_before_a_bad_one_are_answered() {
    let daemon = daemon();
    let good = b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n";

    let together =
        statuses(&daemon, &[good, good, &b"GET /hello HTTP/1.1\nHost: test\r\n\r\n"[..], HIDDEN].concat());

    assert_eq!(together, [200, 200, 400]);
}

/// Malformed chunked bodies, each after a valid head.
const BROKEN_BODIES: &[&[u8]] = &[
    b"3\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n",
    b"+3\r\nabc\r\n0\r\n\r\n",
    b" 3\r\nabc\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"\r\n3\r\nabc\r\n0\r\n\r\n",
    b"g\r\nabc\r\n0\r\n\r\n",
    b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    b"3;a=\nb\r\nabc\r\n0\r\n\r\n",
    b"3;a=\0\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0\r\nX: a\nY: b\r\n\r\n",
    b"3\r\nabc\r\n0\r\nX : a\r\n\r\n",
    b"3\r\nabc\r\n0\r\n X: a\r\n\r\n",
];

#[test]
fn a_body_that_is_broken_ends_the_connection_behind_its_answer() {
    let daemon = daemon();
    for body in BROKEN_BODIES {
        for path in ["/echo", "/deaf"] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");

            let statuses = statuses(&daemon, &[head.as_bytes(), body, HIDDEN].concat());

            assert!(statuses.len() <= 1, "{statuses:?}: {path} {}", body.escape_ascii());
        }
    }
}

/// Each is accepted, and so is the request that follows it.
const TAKEN: &[&[u8]] = &[
    b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n",
    b"\r\nGET /hello HTTP/1.1\r\nHost: test\r\n\r\n",
    b"GET http://test/hello HTTP/1.1\r\nHost: TEST\r\n\r\n",
    b"GET http://test:80/hello HTTP/1.1\r\nHost: Test\r\n\r\n",
    b"GET HTTPS://test/hello HTTP/1.1\r\nHost: test:443\r\n\r\n",
    b"GET /hello HTTP/1.1\r\nhost:test:80\r\nX:\ta\t\r\nY:\r\n\r\n",
    b"GET /hello HTTP/1.1\r\nHost: [::1]:80\r\nX: \xc3\xa9\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 003\r\n\r\na\nb",
    b"POST /echo HTTP/1.1\r\nHost: test\r\ntransfer-encoding: CHUNKED\r\n\r\n003;x\r\n\n\0\r\r\n0\r\nX: y\r\n\r\n",
    b"GET /hello HTTP/1.1\r\nHost: test\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\na",
    // A client cannot have the length of a body taken for a field of the connection.
    b"POST /echo HTTP/1.1\r\nHost: test\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\na",
    b"POST /echo HTTP/1.1\r\nHost: test\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    // Trailers do not frame a message.
    b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: a\r\nUpgrade: x\r\n\r\n",
];

#[test]
fn what_is_by_the_letter_is_taken_and_so_is_the_next() {
    let daemon = daemon();
    let last = b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    for row in TAKEN {
        assert_eq!(statuses(&daemon, &[row, &last[..]].concat()), [200, 200], "{}", row.escape_ascii());
    }
}

#[test]
fn an_offer_of_h2c_is_not_taken_and_frames_behind_it_are_refused() {
    let daemon = daemon();
    let offer =
        b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                  HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    assert_eq!(statuses(&daemon, &[&offer[..], frames].concat()), [200, 505]);
}

/// RFC 9110 §10.1.1: such a client would take an interim response for the response.
#[test]
fn a_client_of_http_1_0_is_never_told_to_continue() {
    let daemon = daemon();
    let mut client = daemon.client();
    client.send("POST /echo HTTP/1.0\r\nHost: test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc");

    let answer = client.rest();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains(" 200 OK\r\n") && text.ends_with("abc") && !text.contains(" 100 "), "{text}");
}

#[test]
fn chunk_extensions_without_end_end_the_connection() {
    let daemon = daemon();
    let chunks = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(40);
    for path in ["/echo", "/deaf"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        let body = format!("{chunks}0\r\n\r\n");

        let statuses = statuses(&daemon, &[head.as_bytes(), body.as_bytes(), HIDDEN].concat());

        assert!(statuses.len() <= 1, "{path}: {statuses:?}");
    }
}

#[test]
fn a_client_that_leaves_is_noticed_though_nobody_reads_what_it_sent() {
    let daemon = Setup::one("", &Program::new().sleep_for_ever().wasm()).flag("-D").start();
    for leaves_with_a_reset in [true, false] {
        let mut client = daemon.client();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nbegun");
        daemon.log.lines(if leaves_with_a_reset { 1 } else { 2 }, "+job one(");

        if leaves_with_a_reset {
            client.reset()
        } else {
            drop(client)
        }

        daemon.log.lines(if leaves_with_a_reset { 1 } else { 2 }, "-job one(");
    }
}
