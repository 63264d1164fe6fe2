//! Handlers that speak HTTP themselves as of WASI 0.3: components that export wasi:http/handler.

use std::fs;

use serde_json::Value;

use crate::harness::{Daemon, PATIENCE, Setup, finish, guests, portcullis, until};

/// The guest that does what its path says.
fn guest() -> Vec<u8> {
    fs::read(guests().join("service.wasm")).unwrap()
}

/// Configures the guest below `/`, with `settings` in its table; WASI 0.3 is as the daemon has it.
fn setup(settings: &str) -> Setup {
    Setup::new(&format!(
        "debug = true\n[handler.s]\nmodule = \"s.wasm\"\n{settings}\n[[route]]\npath = \"/{{verb}}/{{*rest}}\"\nhandler = \"s\"\n\
         [[route]]\npath = \"/{{verb}}\"\nhandler = \"s\"\n"
    ))
    .file("s.wasm", &guest())
}

fn serving(settings: &str) -> Daemon {
    setup(settings).prepend("wasi_http_03 = true\n").start()
}

#[test]
fn it_is_off_until_it_is_switched_on() {
    let ended = setup("").fail();

    assert_eq!(ended.code, Some(1));
    let line = ended.stderr.lines().find(|line| line.contains("wasi:http/handler@0.3")).unwrap();
    assert!(line.contains("handler \"s\"") && line.contains("`wasi_http_03 = true`"), "{line}");
}

#[test]
fn an_instance_of_it_is_not_reused() {
    let ended = setup("reuse = 9").prepend("wasi_http_03 = true\n").fail();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("reuse is for wasi:http 0.2"), "{}", ended.stderr);
}

#[test]
fn the_request_itself_arrives_and_what_it_prints_is_logged() {
    let daemon = serving("args = [\"one\"]\nenv = { COLOUR = \"red\" }");

    let response = daemon.client().ask("PATCH", "/facts/x?q=%20", "X-Two: b\r\n");
    let facts = response.text();
    for line in [
        "method Method::Patch",
        "scheme Some(Scheme::Http)",
        "authority Some(\"test\")",
        "target Some(\"/facts/x?q=%20\")",
        "args [\"s\", \"one\"]",
        "field portcullis-matched-route: /{verb}/{*rest}",
        "field x-two: b",
        "env COLOUR=red",
    ] {
        assert!(facts.lines().any(|said| said == line), "{line}: {facts}");
    }
    assert_eq!(daemon.get("/say").text(), "said\n");
    let lines = daemon.log.lines(2, "s: to std");
    assert!(lines[0].ends_with("s: to stdout") && lines[1].ends_with("s: to stderr"), "{lines:?}");
}

#[test]
fn bodies_and_trailers_go_both_ways_while_they_come() {
    let daemon = serving("");
    let mut client = daemon.client();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n");

    client.send("3\r\none\r\n");
    client.head();
    assert_eq!(client.chunk(), b"one");
    client.send("3\r\ntwo\r\n");
    assert_eq!(client.chunk(), b"two");
    client.send("0\r\nx-sum: 6\r\n\r\n");

    assert_eq!(client.up_to(b"\r\n"), b"0\r\n");
    let trailers = String::from_utf8(client.up_to(b"\r\n\r\n")).unwrap();
    let mut trailers: Vec<&str> = trailers.trim().lines().collect();
    trailers.sort_unstable();
    assert_eq!(trailers, ["x-length: 6", "x-sum: 6"]);
    assert_eq!(client.get("/hello").text(), "hello\n", "the connection is of use");
}

#[test]
fn a_body_may_be_passed_on_by_a_handler_that_is_done() {
    let daemon = serving("");
    let body = vec![b'x'; 300_000];

    let response = daemon.client().submit("POST", "/pass", "", &body);

    assert_eq!(response.status(), 200);
    assert!(response.text().as_bytes() == body);
}

#[test]
fn a_status_without_a_body_has_none() {
    let daemon = serving("");
    let mut client = daemon.client();

    assert_eq!(client.get("/status/204").status(), 204);
    assert_eq!(client.get("/status/304").status(), 304);
    assert_eq!(client.ask("HEAD", "/status/200", "").field("content-length"), Some("5"));
    assert_eq!(client.get("/status/404").text(), "body\n", "nothing is left of a body that none may have");
}

#[test]
fn answers_that_are_none_are_told_as_the_handlers_fault() {
    let daemon = serving("limits = { memory = \"16MiB\" }");

    for (path, part) in [
        ("/refuse", "ErrorCode::InternalError(Some(\"no\"))"),
        ("/trap", "trapped"),
        ("/exit", "exit status 1"),
        ("/grow", "limits.memory"),
        ("/hoard", "resource table has no free keys"),
    ] {
        let response = daemon.get(path);
        assert_eq!(response.status(), 502, "{path}: {}", response.text());
        assert!(response.text().contains(part), "{path}: {}", response.text());
    }
    assert_eq!(daemon.get("/hello").status(), 200);
}

#[test]
fn streams_that_a_handler_hoards_are_bounded() {
    let daemon = serving("limits = { memory = \"512MiB\", handles = 100 }");

    let response = daemon.get("/streams");

    assert_eq!(response.status(), 502, "{}", response.text());
    assert!(!response.text().contains("limits.memory"), "{}", response.text());
}

#[test]
fn a_body_that_is_not_what_it_says_never_looks_whole() {
    let daemon = serving("limits = { time = \"2s\", output = \"3MiB\" }");

    for (path, part) in [
        ("/late", "trapped"),
        ("/later", "trapped"),
        ("/abort", "did not finish its body"),
        ("/short", "did not finish its body"),
        ("/leave", "limits.time"),
        ("/stall", "limits.time"),
        ("/pour/4", "limits.output"),
    ] {
        let mut client = daemon.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));

        let all = client.rest();

        // A failure if the handler was done before its head was on the way.
        let told = all.starts_with(b"HTTP/1.1 50");
        assert!(told || !all.ends_with(b"0\r\n\r\n"), "{path}: {}", all.escape_ascii());
        daemon.log.line(part);
    }
}

#[test]
fn limits_hold_before_the_head() {
    let daemon = serving("limits = { time = \"2s\", cpu = \"100ms\", body = \"10B\" }");

    for (path, part) in [("/never", "limits.time"), ("/stuck", "limits.time"), ("/spin", "limits.cpu")] {
        let response = daemon.get(path);
        assert_eq!(response.status(), 504, "{path}: {}", response.text());
        assert!(response.text().contains(part), "{path}: {}", response.text());
    }
    assert_eq!(daemon.client().submit("POST", "/echo", "", b"12345678901").status(), 413);
    let mut client = daemon.client();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n");
    assert!(!client.rest().ends_with(b"0\r\n\r\n"));
    daemon.log.line("limits.body");
}

#[test]
fn a_client_that_leaves_ends_the_job() {
    let daemon = setup("").prepend("wasi_http_03 = true\nadmin = \"unix://admin.sock\"\n").start();
    let mut client = daemon.client();
    client.send("GET /stall HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    assert_eq!(client.chunk(), b"a piece");
    let running = || {
        let mut jobs = portcullis();
        jobs.args(["jobs", "--json", "--socket"]).arg(daemon.path("admin.sock"));
        let jobs: Value = serde_json::from_slice(&finish(&mut jobs, b"", PATIENCE).stdout).unwrap();
        jobs.as_array().unwrap().iter().filter(|job| job["handler"] == "s").count()
    };
    assert_eq!(running(), 1);

    client.reset();

    until("the job ends", || (running() == 0).then_some(()));
}

#[test]
fn a_request_to_another_server_is_denied() {
    let daemon = serving("");

    let said = daemon.get(&format!("/fetch/127.0.0.1:{}", daemon.port()));

    assert_eq!(said.text(), "ErrorCode::HttpRequestDenied\n");
}
