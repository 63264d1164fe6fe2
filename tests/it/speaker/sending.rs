//! Requests over `wasi:http/client` of 0.3: what the other server receives, and what the handler learns.
//!
//! The subjects are those of wasi-testsuite's `http-client` tests; the tests are our own.

use super::SERVICE;
use crate::harness::origin::read_body;
use crate::harness::{Daemon, Origin, free_port};

/// Starts a server that sends back what follows the head of each request, with its framing. It sends nothing
/// back if the request breaks off.
fn mirror() -> Origin {
    Origin::of("127.0.0.1", |head, stream| {
        let Some(mut body) = read_body(head, stream) else { return };
        let length = body.len();
        if head.starts_with("HEAD ") {
            body.clear();
        }
        let fields = format!("Content-Length: {length}\r\nConnection: close\r\n");
        let _sent =
            stream.write_all(&[format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), &body].concat());
    })
}

/// Returns the authority of a server at this port.
fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Serves the guest with permission to call these servers.
fn serving(authorities: &[&str]) -> Daemon {
    let allow: Vec<String> = authorities.iter().map(|authority| format!("http://{authority}")).collect();
    SERVICE.serving(&format!("allow = {allow:?}\nallow_addresses = [\"127.0.0.1\"]"))
}

/// Has the guest send a request (`send.rs` of the guest), and returns its report.
fn send(daemon: &Daemon, request: &str) -> String {
    let response = daemon.client().submit("POST", "/send", "", request.as_bytes());
    assert_eq!(response.status(), 200, "{request}: {response:?}");
    response.text().to_owned()
}

/// Returns the report on a request that the mirror received with this body, framing included.
fn mirrored(body: &str) -> String {
    format!("sent Ok(())\nstatus 200\nfield content-length: {}\n\n{body}", body.len())
}

#[test]
fn method_target_and_fields_are_sent_as_the_handler_gave_them() {
    let origin = mirror();
    let to = at(origin.port());
    let daemon = serving(&[&to]);
    let target = "/m%2Fn?b=2&a=1&a=%20&c=";

    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND"] {
        let report = send(&daemon, &format!("{method} {to} {target}\nx-two: b\nx-two: a"));

        assert!(report.starts_with("sent Ok(())\nstatus 200\n"), "{method}: {report}");
        let head = origin.heads().pop().unwrap();
        let wanted =
            format!("{method} {target} HTTP/1.1\r\nx-two: b\r\nx-two: a\r\nhost: {to}\r\ncdn-loop: ");
        assert!(head.starts_with(&wanted), "{head}");
    }
    // It would ask for a tunnel (RFC 9110 §9.3.6).
    let refused = send(&daemon, &format!("CONNECT {to} /"));
    assert_eq!(refused, "sent Ok(())\nfailed ErrorCode::HttpRequestMethodInvalid\n");
}

#[test]
fn a_target_without_a_path_is_sent_with_a_slash_and_its_query() {
    let origin = mirror();
    let to = at(origin.port());
    let daemon = serving(&[&to]);

    for (target, line) in [("", "GET / HTTP/1.1\r\n"), ("?q=1", "GET /?q=1 HTTP/1.1\r\n")] {
        assert_eq!(send(&daemon, &format!("GET {to} {target}")), mirrored(""));
        let head = origin.heads().pop().unwrap();
        assert!(head.starts_with(line), "{head}");
    }
}

#[test]
fn a_body_is_framed_by_its_length_or_in_chunks() {
    let origin = mirror();
    let to = at(origin.port());
    let daemon = serving(&[&to]);

    let known = send(&daemon, &format!("POST {to} /\ncontent-length: 4\n\nping"));
    let unknown = send(&daemon, &format!("POST {to} /\n\nping"));

    assert_eq!(known, mirrored("ping"));
    assert_eq!(unknown, mirrored("4\r\nping\r\n0\r\n\r\n"));
    for head in origin.heads() {
        assert_ne!(head.contains("\r\ncontent-length: "), head.contains("\r\ntransfer-encoding: "), "{head}");
    }
    for length in [3, 5] {
        let wrong = send(&daemon, &format!("POST {to} /\ncontent-length: {length}\n\nping"));
        let size = "sent Err(ErrorCode::HttpRequestBodySize(Some(4)))";
        assert_eq!(wrong, format!("{size}\nfailed ErrorCode::HttpProtocolError\n"));
    }
}

#[test]
fn trailers_are_sent_if_they_are_announced_and_an_error_instead_breaks_the_request_off() {
    let origin = mirror();
    let to = at(origin.port());
    let daemon = serving(&[&to]);
    let ending = |last: &str| send(&daemon, &format!("POST {to} /\ntrailer: x-sum, x-of\n\nping\n\n{last}"));

    let report = ending("x-sum: 4\nx-of: ping\nx-other: not announced");
    let broken = ending("abort");

    assert_eq!(report, mirrored("4\r\nping\r\n0\r\nx-sum: 4\r\nx-of: ping\r\n\r\n"));
    // `sent Ok` is wrong: see the last test.
    assert_eq!(broken, "sent Ok(())\nfailed ErrorCode::HttpProtocolError\n");
}

#[test]
fn status_fields_body_and_trailers_of_a_response_arrive() {
    for (status, rest, report) in [
        ("200 OK", "Content-Length: 0\r\n\r\n", "field content-length: 0\n\n"),
        ("201 Created", "Content-Length: 4\r\n\r\nmade", "field content-length: 4\n\nmade"),
        (
            "404 Not Found",
            "X-Two: b\r\nX-Two: a\r\nContent-Length: 0\r\n\r\n",
            "field x-two: b\nfield x-two: a\nfield content-length: 0\n\n",
        ),
        ("599 Odd", "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", "\nonetwo"),
        (
            "203 Fine",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nping\r\n0\r\nX-Sum: 4\r\nX-Of: ping\r\n\r\n",
            "trailer x-sum: 4\ntrailer x-of: ping\n\nping",
        ),
    ] {
        let origin = Origin::says("127.0.0.1", &format!("HTTP/1.1 {status}\r\n{rest}"));
        let to = at(origin.port());
        let daemon = serving(&[&to]);

        let said = send(&daemon, &format!("GET {to} /"));

        assert_eq!(said, format!("sent Ok(())\nstatus {}\n{report}", &status[..3]));
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_an_error_of_its_kind() {
    let free = free_port();
    let [closed, unknown] = [at(free), "nobody.invalid:80".to_owned()];
    let daemon = serving(&[&closed, &unknown]);

    let refused = send(&daemon, &format!("GET {closed} /"));
    let unresolved = send(&daemon, &format!("GET {unknown} /"));

    assert!(refused.ends_with("\nfailed ErrorCode::ConnectionRefused\n"), "{refused}");
    // A host whose name server is out of reach may not learn in time that the name does not exist.
    let codes = ["DnsError(", "ConnectionTimeout\n"];
    assert!(
        codes.iter().any(|code| unresolved.contains(&format!("\nfailed ErrorCode::{code}"))),
        "{unresolved}"
    );
}

/// wasmtime-wasi-http 48 is wrong here, and wasi-testsuite expects both failures of wasmtime. `WasiHttpHooks` cannot
/// change them: the first is decided before `send_request` is called, the second after it has failed.
#[test]
fn a_request_without_a_target_fails_and_one_that_was_not_sent_is_reported_as_sent() {
    let origin = mirror();
    let to = at(origin.port());
    let daemon = serving(&[&to]);

    // `http-client-path-none` wants it sent as `/`.
    let without = send(&daemon, &format!("GET {to}"));
    // `http-client-sent` wants an error in place of `Ok`.
    let denied = send(&daemon, "GET nobody.invalid:80 /");

    assert_eq!(without, "sent Ok(())\nfailed ErrorCode::HttpRequestUriInvalid\n");
    assert_eq!(denied, "sent Ok(())\nfailed ErrorCode::HttpRequestDenied\n");
    assert_eq!(origin.hits(), 0);
}
