//! HTTP/1.1 on the wire, byte for byte.

use std::time::Duration;

use crate::harness::{Client, Daemon, Program, Setup};

/// `/hello` answers at once, `/echo` sends the body back, `/deaf` never reads it.
fn daemon() -> Daemon {
    settings("")
}

fn settings(settings: &str) -> Daemon {
    // The handler sends its length, since it depends on timing whether the daemon knows it.
    let hello = Program::new().say("Content-Type: text/plain\nContent-Length: 6\n\nhello\n");
    Setup::new(settings)
        .handler("hello", "", &hello.wasm())
        .handler("echo", "body = \"stream\"", &Program::text().echo().wasm())
        .handler("swallow", "", &Program::new().swallow().say("Content-Type: text/plain\n\nread\n").wasm())
        .handler("deaf", "", &Program::text().say("not asked\n").wasm())
        .add("[[route]]\npath = \"/read\"\nmethods = [\"GET\", \"HEAD\"]\nhandler = \"hello\"\n")
        .start()
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\n";

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let daemon = daemon();
    let mut client = daemon.client();

    for _ in 0..3 {
        let response = client.get("/hello");

        assert_eq!(response.undated(), HELLO);
        assert_eq!(response.text(), "hello\n");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let daemon = daemon();
    let mut client = daemon.client();

    client.send(
        "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\noneGET /hello HTTP/1.1\r\nHost: test\r\n\r\n\
         POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nthree",
    );

    let bodies = [(); 3].map(|()| client.response().body);
    assert_eq!(bodies, [&b"one"[..], b"hello\n", b"three"]);
}

#[test]
fn an_answer_is_not_kept_back_by_the_beginning_of_the_next_request() {
    let daemon = daemon();
    let mut client = daemon.client();

    client.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\nGET /he");

    assert_eq!(client.response().text(), "hello\n");
    client.send("llo HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().text(), "hello\n");
}

#[test]
fn a_request_that_came_in_single_bytes_is_the_same_request() {
    let daemon = daemon();
    let mut client = daemon.client();

    for byte in
        b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    {
        client.send([*byte]);
    }

    assert_eq!(client.response().text(), "abc");
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks_and_the_connection_is_closed() {
    let daemon = daemon();
    let mut client = daemon.client();

    client.send("GET /hello HTTP/1.0\r\n\r\n");

    let head = client.head();
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(client.rest(), b"hello\n");
}

#[test]
fn chunks_go_in_and_come_out() {
    let daemon = daemon();
    let mut client = daemon.client();

    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("6;ext=1\r\nfirst \r\n");

    let head = client.head();
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(client.up_to(b"\n"), b"6\r\n");
    assert_eq!(client.up_to(b"\n"), b"first \r\n");
    client.send("5\r\nlast\n\r\n0\r\nTrailer: ignored\r\n\r\n");
    assert_eq!(client.up_to(b"\n"), b"5\r\n");
    assert_eq!(client.up_to(b"0\r\n\r\n"), b"last\n\r\n0\r\n\r\n");
    assert_eq!(client.get("/hello").text(), "hello\n");
}

#[test]
fn a_client_is_told_to_continue_once_the_handler_reads() {
    let daemon = daemon();
    let mut client = daemon.client();

    client.send("POST /swallow HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");

    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    assert_eq!(client.response().text(), "read\n");
}

#[test]
fn a_client_is_not_told_to_continue_when_the_handler_does_not_read() {
    let daemon = daemon();
    let mut client = daemon.client();

    client.send("POST /deaf HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");

    let response = client.response();
    assert_eq!((response.status(), response.text()), (200, "not asked\n"));
    assert!(client.rest().is_empty(), "what the client would send now cannot be told from a request");
}

#[test]
fn a_body_nobody_read_does_not_become_the_next_request() {
    let daemon = daemon();
    let mut client = daemon.client();

    client.send("POST /deaf HTTP/1.1\r\nHost: test\r\nContent-Length: 37\r\n\r\nGET /hello HTTP/1.1\r\nHost: test\r\n\r\n\r\n");

    assert_eq!(client.response().text(), "not asked\n");
    let rest = client.get_or_closed("/read");
    assert!(rest.is_none_or(|response| response.text() == "hello\n"));
}

#[test]
fn an_answer_arrives_whole_though_nobody_read_the_body() {
    let module = Program::text().pour(16).wasm();
    let daemon = Setup::one("", &module).start();

    for _ in 0..20 {
        let mut client = daemon.client();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n");
        let head = client.head();
        client.send([b'x'; 50]);
        client.send([b'x'; 50]);

        assert_eq!(client.receive_chunks(), 16 << 16, "{head}");
    }
}

#[test]
fn head_is_answered_with_the_head_alone() {
    let daemon = daemon();
    let mut client = daemon.client();

    let response = client.ask("HEAD", "/hello", "");

    assert_eq!(response.status(), 200);
    assert_eq!(response.field("content-type"), Some("text/plain"));
    assert_ne!(response.field("content-length"), Some("0"), "a GET has a body");
    assert_eq!(client.get("/hello").text(), "hello\n");
}

#[test]
fn a_path_that_no_route_matches_is_a_404() {
    let daemon = daemon();

    let response = daemon.get("/nothing");

    assert_eq!(
        response.undated(),
        "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n\
         cache-control: no-store\r\ncontent-length: 27\r\n\r\n"
    );
    assert_eq!(response.text(), "no route matches this path\n".to_owned());
}

#[test]
fn what_no_handler_can_give_is_a_501_and_the_end_of_the_connection() {
    let daemon = daemon();
    for (method, field) in [
        ("CONNECT", ""),
        ("TRACE", ""),
        ("POST", "Transfer-Encoding: gzip, chunked\r\n"),
        ("POST", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ] {
        let mut client = daemon.client();
        client.send(format!("{method} /hello HTTP/1.1\r\nHost: test\r\n{field}\r\n0\r\n\r\n"));

        let response = client.response();
        assert_eq!(response.status(), 501, "{method} {field}");
        assert!(response.undated().contains("connection: close\r\n"), "{method} {field}");
    }
}

#[test]
fn a_method_that_no_route_has_is_a_405_that_names_those_it_has() {
    let daemon = daemon();
    let mut client = daemon.client();

    let response = client.ask("DELETE", "/read", "");

    assert_eq!(response.status(), 405);
    assert_eq!(response.field("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(response.text(), "this path allows GET, HEAD, OPTIONS only\n");
}

#[test]
fn options_names_the_methods_of_a_path() {
    let daemon = daemon();
    let mut client = daemon.client();

    let response = client.ask("OPTIONS", "/read", "");

    assert_eq!(response.undated(), "HTTP/1.1 204 No Content\r\nallow: GET, HEAD, OPTIONS\r\n\r\n");
}

#[test]
fn a_preflight_is_granted_to_the_configured_origin_alone() {
    let daemon = settings(
        "[cors]\norigins = [\"https://a.example\"]\nmethods = [\"GET\", \"POST\"]\nheaders = [\"content-type\"]\nmax_age = \"60s\"\n",
    );
    let ask = |origin: &str| {
        let fields = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n");
        daemon.client().ask("OPTIONS", "/echo", &fields)
    };

    let (granted, refused) = (ask("https://a.example"), ask("https://b.example"));

    assert_eq!(granted.status(), 204);
    assert_eq!(granted.field("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(granted.field("access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(granted.field("access-control-max-age"), Some("60"));
    assert_eq!(refused.status(), 204);
    assert_eq!(refused.field("access-control-allow-origin"), None);
    let response = daemon.client().ask("GET", "/hello", "Origin: https://a.example\r\n");
    assert_eq!(response.field("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(response.text(), "hello\n");
}

#[test]
fn healthz_says_that_it_serves() {
    let daemon = daemon();

    let response = daemon.get("/healthz");

    assert_eq!(
        response.undated(),
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\ncontent-length: 5\r\n\r\n"
    );
    assert_eq!(response.text(), "open\n");
}

#[test]
fn a_request_without_a_host_is_refused_and_one_with_two_as_well() {
    let daemon = daemon();
    let answer = |fields: &str| {
        let mut client = daemon.client();
        client.send(format!("GET /hello HTTP/1.1\r\n{fields}\r\n"));
        let response = client.response();
        assert!(client.rest().is_empty());
        (response.status(), response.text().to_owned())
    };

    assert_eq!(answer(""), (400, "malformed request: HTTP/1.1 without a Host field\n".to_owned()));
    assert_eq!(
        answer("Host: a\r\nHost: b\r\n"),
        (400, "malformed request: more than one Host field\n".to_owned())
    );
}

#[test]
fn what_is_no_request_is_a_400_and_the_end() {
    let daemon = daemon();
    for nonsense in [
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n",
        "GET\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: test\r\nBad Name: x\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: test\r\nX: a\0b\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /a%00b HTTP/1.1\r\nHost: test\r\n\r\n",
    ] {
        let mut client = daemon.client();

        client.send(nonsense);

        let response = client.response();
        assert_eq!(response.status(), 400, "{nonsense:?}: {response:?}");
        assert!(client.rest().is_empty(), "{nonsense:?}");
    }
}

#[test]
fn a_length_and_chunks_at_once_are_not_two_requests() {
    let daemon = daemon();
    let mut client = daemon.client();

    // RFC 9112 §6.3: the chunks decide, or the request is refused. The connection is not reused.
    client.send(
        "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET /hello HTTP/1.1\r\nHost: test\r\n\r\n",
    );

    let response = client.response();
    assert!(response.status() == 400 || response.body.is_empty(), "{response:?}");
}

#[test]
fn a_target_is_taken_at_its_limit_and_refused_one_byte_later() {
    let daemon = settings("[http]\ntarget_size = 64\n");
    let ask = |length: usize| daemon.get(&format!("/hello?{}", "q".repeat(length - "/hello?".len())));

    let (at, past) = (ask(64), ask(65));

    assert_eq!((at.status(), at.text()), (200, "hello\n"));
    assert_eq!((past.status(), past.text()), (414, "the request target is longer than 64 bytes\n"));
    assert_eq!(past.field("connection"), Some("close"));
}

#[test]
fn fields_are_taken_up_to_their_limit_and_refused_one_later() {
    let daemon = settings("[http]\nfields = 10\n");
    // Host is one of the fields.
    let ask = |fields: usize| daemon.client().ask("GET", "/hello", &"X: y\r\n".repeat(fields - 1)).status();

    assert_eq!((ask(10), ask(11)), (200, 431));
}

#[test]
fn a_head_is_taken_up_to_its_limit_and_refused_beyond() {
    const MOST: usize = 16 << 10;
    let daemon = settings("[http]\nhead_size = \"16KiB\"\n");
    let ask = |length: usize| {
        let begin = "GET /hello HTTP/1.1\r\nHost: test\r\nX: ";
        let value = "x".repeat(length - begin.len() - 4);
        let mut client = daemon.client();
        client.send(format!("{begin}{value}\r\n\r\n"));
        client.response().status()
    };

    assert_eq!((ask(MOST), ask(MOST + 1)), (200, 431));
}

#[test]
fn a_daemon_answers_on_all_its_sockets() {
    let setup = Setup::one("", &Program::text().say("hello\n").wasm());
    let path = setup.path("p.sock");
    let daemon = setup
        .host(format!("unix://{}", path.display()))
        .host("tcp://127.0.0.1:0")
        .host("tcp://[::1]:0")
        .start();

    assert_eq!(Client::unix(&path).get("/").text(), "hello\n");
    assert_eq!(daemon.get("/").text(), "hello\n");
    let port: u16 = daemon.log.line("tcp://[::1]").rsplit_once(':').unwrap().1.parse().unwrap();
    let mut client = Client::tcp6(port);
    assert_eq!(client.get("/").text(), "hello\n");
}

#[test]
fn a_version_before_the_path_reaches_the_same_handler() {
    let daemon = Setup::one("", &Program::text().environment().wasm())
        .prepend("version_prefix = true\n")
        .add("[[route]]\npath = \"/info\"\nhandler = \"one\"\n")
        .start();

    let response = daemon.get("/v1.14/info");

    assert_eq!(response.status(), 200);
    assert!(response.text().contains("1.14"), "{}", response.text());
    assert_eq!(daemon.get("/info").status(), 200);
    assert_eq!(daemon.get("/vx/info").status(), 404);
}

#[test]
fn a_slow_head_does_not_hold_up_other_connections() {
    let daemon = daemon();
    let mut slow = daemon.client();
    slow.send("GET /hello HTTP/1.1\r\nHos");

    assert_eq!(daemon.get("/hello").text(), "hello\n");

    assert!(slow.is_silent_for(Duration::from_millis(50)));
    slow.send("t: test\r\n\r\n");
    assert_eq!(slow.response().text(), "hello\n");
}
