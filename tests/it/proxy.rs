//! Handlers that speak HTTP themselves: components that export wasi:http/incoming-handler.

use std::fs;

use serde_json::Value;

use crate::harness::{Daemon, Ended, PATIENCE, Setup, finish, guests, portcullis, until};

/// The guest that does what its path says.
fn guest() -> Vec<u8> {
    fs::read(guests().join("proxy.wasm")).unwrap()
}

/// Serves the guest below `/`, with `settings` in its table.
fn setup(settings: &str) -> Setup {
    Setup::new(&format!(
        "debug = true\n[handler.p]\nmodule = \"p.wasm\"\n{settings}\n[[route]]\npath = \"/{{verb}}/{{*rest}}\"\nhandler = \"p\"\n\
         [[route]]\npath = \"/{{verb}}\"\nhandler = \"p\"\n"
    ))
    .file("p.wasm", &guest())
}

fn serving(settings: &str) -> Daemon {
    setup(settings).start()
}

/// Asks on a connection of its own, and wants a failure of the handler's that says this.
fn failed(daemon: &Daemon, target: &str, status: u16, part: &str) {
    let response = daemon.get(target);
    assert_eq!(response.status(), status, "{target}: {}", response.text());
    assert!(response.text().contains(part), "{target}: {}", response.text());
}

#[test]
fn a_small_answer_that_is_given_without_a_pause_has_a_length() {
    let daemon = serving("");
    let mut client = daemon.client();
    let whole = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\n";

    // On a busy machine a tick of the epoch may come in between, and then the head goes out first.
    until("an answer in one piece", || {
        let response = client.get("/hello");
        assert_eq!(response.text(), "hello\n");
        (response.undated() == whole).then_some(())
    });
}

#[test]
fn the_request_itself_arrives_and_what_the_daemon_knows_comes_as_fields() {
    let daemon = serving("args = [\"one\"]\nenv = { COLOUR = \"red\" }");

    let fields = "X-Two: b\r\nX-Two: a\r\nPortcullis-Request-Id: forged\r\nPortcullis-Mood: bad\r\n";
    let response = daemon.client().ask("PATCH", "/facts/%C3%A9?q=%20", fields);

    let text = response.text();
    let mut lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("field portcullis-request-id: ")).unwrap();
    assert_eq!(lines.remove(at).len(), "field portcullis-request-id: ".len() + 16, "{text}");
    let expected = [
        "method Method::Patch",
        "scheme Some(Scheme::Http)",
        "authority Some(\"test\")",
        "target Some(\"/facts/%C3%A9?q=%20\")",
        "args [\"p\", \"one\"]",
        "field portcullis-matched-route: /{verb}/{*rest}",
        "field portcullis-remote-addr: 127.0.0.1",
        "field portcullis-route-rest: é",
        "field portcullis-route-verb: facts",
        "field x-two: a",
        "field x-two: b",
        "env COLOUR=red",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn bodies_and_trailers_go_both_ways_while_they_come() {
    let daemon = serving("");
    let mut client = daemon.client();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n");

    client.send("3\r\none\r\n");
    let head = client.head();
    assert!(head.contains("\r\ntrailer: x-length, x-echo, x-sum\r\n"), "{head}");
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
fn a_client_that_reads_no_trailers_gets_none() {
    let daemon = serving("");

    let mut client = daemon.client();
    let response = client.submit("POST", "/echo", "", b"abc");

    assert_eq!(response.text(), "abc");
    assert_eq!(client.get("/hello").text(), "hello\n");
}

#[test]
fn what_it_prints_is_logged_and_not_sent() {
    let daemon = serving("");

    assert_eq!(daemon.get("/say").text(), "said\n");

    let lines = daemon.log.lines(2, "p: to std");
    assert!(lines[0].ends_with("p: to stdout") && lines[1].ends_with("p: to stderr"), "{lines:?}");
}

#[test]
fn a_status_without_a_body_has_none_and_head_is_the_head_alone() {
    let daemon = serving("");
    let mut client = daemon.client();

    for status in ["204", "304"] {
        let response = client.get(&format!("/status/{status}"));
        assert_eq!(response.field("content-length"), None);
        assert_eq!(response.status().to_string(), status);
    }
    let head = client.ask("HEAD", "/status/200", "");
    assert_eq!(head.field("content-length"), Some("5"));
    assert_eq!(client.get("/status/404").text(), "body\n", "nothing is left of a body that none may have");
}

#[test]
fn answers_that_are_none_are_told_as_the_handlers_fault() {
    let daemon = serving("limits = { memory = \"16MiB\" }");

    for (path, part) in [
        ("/silent", "ended without a response"),
        ("/refuse", "ErrorCode::InternalError(Some(\"no\"))"),
        ("/status/101", "Status: \"101\""),
        ("/status/600", "Status: \"600\""),
        ("/trap", "trapped"),
        ("/exit", "exit status 1"),
        ("/grow", "limits.memory"),
        ("/hoard", "resource table has no free keys"),
        ("/fields", "total size of fields exceeds limit"),
    ] {
        failed(&daemon, path, 502, part);
    }
    assert_eq!(daemon.get("/hello").status(), 200);
}

#[test]
fn a_body_that_is_not_what_it_says_never_looks_whole() {
    let daemon = serving("");

    for (path, part) in [
        ("/late", "trapped"),
        ("/later", "trapped"),
        ("/leave", "did not finish its body"),
        ("/abort", "did not finish its body"),
        ("/short", "did not finish its body"),
    ] {
        let mut client = daemon.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));

        let all = client.rest();

        // A 502 if the handler was done before its head was on the way; all it takes is no pause.
        let told = all.starts_with(b"HTTP/1.1 502 ");
        assert!(told || !all.ends_with(b"0\r\n\r\n"), "{path}: {}", all.escape_ascii());
        daemon.log.line(part);
    }
}

#[test]
fn a_body_that_is_longer_than_it_says_is_cut() {
    let daemon = serving("");
    let mut client = daemon.client();

    let response = client.get("/long");

    assert!(response.status() == 502 || response.text() == "abc", "{}", response.text());
    assert_eq!(client.get("/hello").text(), "hello\n", "nothing of it is left on the connection");
}

#[test]
fn fields_that_would_break_the_framing_cannot_be_made() {
    let daemon = serving("");

    let said = daemon.get("/forbidden");

    let expected = "connection false\ntransfer-encoding false\nupgrade false\nhost false\na b false\nx-fine true\n\
                    split false\ntwice false\n";
    assert_eq!(said.text(), expected);
}

#[test]
fn a_fault_behind_the_head_breaks_the_response_off() {
    let daemon = serving("limits = { time = \"1s\", output = \"3MiB\" }");
    for path in ["/stall", "/pour/4"] {
        let mut client = daemon.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));

        let all = client.rest();

        assert!(all.starts_with(b"HTTP/1.1 200 OK\r\n"), "{path}");
        assert!(!all.ends_with(b"0\r\n\r\n"), "{path}: what is cut off must not look whole");
    }
    daemon.log.line("limits.time");
    daemon.log.line("limits.output");
}

#[test]
fn limits_hold_before_the_head() {
    let daemon = serving("limits = { time = \"2s\", cpu = \"100ms\", body = \"10B\" }");

    failed(&daemon, "/never", 504, "limits.time");
    failed(&daemon, "/spin", 504, "limits.cpu");
    let told = daemon.client().submit("POST", "/echo", "", b"12345678901");
    assert_eq!(told.status(), 413);
    let mut client = daemon.client();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n");
    assert!(!client.rest().ends_with(b"0\r\n\r\n"));
    daemon.log.line("limits.body");
}

#[test]
fn a_client_that_leaves_ends_the_job() {
    let daemon = setup("").prepend("admin = \"unix://admin.sock\"\n").start();
    let mut client = daemon.client();
    client.send("GET /stall HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    assert_eq!(client.chunk(), b"a piece");
    let running = || {
        let jobs: Value = serde_json::from_slice(&verb(&daemon, &["jobs", "--json"]).stdout).unwrap();
        jobs.as_array().unwrap().iter().filter(|job| job["handler"] == "p").count()
    };
    assert_eq!(running(), 1);

    client.reset();

    until("the job ends", || (running() == 0).then_some(()));
}

/// Runs a verb against a daemon.
fn verb(daemon: &Daemon, args: &[&str]) -> Ended {
    finish(portcullis().args(args).arg("--socket").arg(daemon.path("admin.sock")), b"", PATIENCE)
}

#[test]
fn a_request_to_another_server_is_denied() {
    let daemon = serving("");

    assert_eq!(
        daemon.get(&format!("/fetch/127.0.0.1:{}", daemon.port())).text(),
        "ErrorCode::HttpRequestDenied\n"
    );
}

#[test]
fn a_handler_that_speaks_http_is_no_program() {
    let ended = finish(portcullis().arg("run").arg(guests().join("proxy.wasm")), b"", PATIENCE);

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("answers HTTP requests (wasi:http) and is no program"), "{}", ended.stderr);
}

#[test]
fn a_setting_that_is_for_programs_is_refused() {
    let ended = setup("output = \"raw\"").fail();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("output = \"raw\" is for programs"), "{}", ended.stderr);
}

#[test]
fn a_probe_and_a_swap_take_it_as_any_other() {
    let daemon = setup("probe = { path = \"/hello\" }")
        .prepend("admin = \"unix://admin.sock\"\nversion_header = true\n")
        .start();
    let mut client = daemon.client();
    let before = client.get("/hello");

    // A custom section: the same component under another digest.
    fs::write(daemon.path("other.wasm"), [&guest()[..], &[0, 3, 1, b'x', b'y']].concat()).unwrap();
    let swapped = verb(&daemon, &["swap", "p", daemon.path("other.wasm").to_str().unwrap()]);

    assert_eq!(swapped.code, Some(0), "{}", swapped.stderr);
    let after = client.get("/hello");
    assert_eq!(after.text(), "hello\n");
    assert_ne!(before.field("x-portcullis-version"), after.field("x-portcullis-version"));
}
