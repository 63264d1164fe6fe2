//! Behaviour specific to wasi:http 0.2.

use std::fs;

use super::PROXY;
use super::both::failed;
use crate::harness::{Daemon, Setup, until};

fn setup(settings: &str) -> Setup {
    PROXY.setup(settings)
}

fn serving(settings: &str) -> Daemon {
    PROXY.serving(settings)
}

#[test]
fn a_small_answer_that_is_given_without_a_pause_has_a_length() {
    let daemon = serving("");
    let mut client = daemon.client();
    let whole = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\n";

    // On a busy machine an epoch tick may fall in between; the head is then sent first.
    until("an answer in one piece", || {
        let response = client.get("/hello");
        assert_eq!(response.text(), "hello\n");
        (response.undated() == whole).then_some(())
    });
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
fn answers_that_0_2_lets_through_are_looked_at_all_the_same() {
    let daemon = serving("");

    for (path, part) in [
        ("/silent", "ended without a response"),
        ("/status/101", "Status: \"101\""),
        ("/status/600", "Status: \"600\""),
        ("/fields", "total size of fields exceeds limit"),
    ] {
        failed(&daemon, path, 502, part);
    }
    assert_eq!(daemon.get("/hello").status(), 200);
}

#[test]
fn a_job_that_goes_on_though_it_can_answer_no_more_has_given_none() {
    for settings in ["", "reuse = 1000"] {
        let daemon = setup(settings).prepend("admin = \"unix://admin.sock\"\n").start();
        for (number, path) in (1_u32..).zip(["/unset", "/forget", "/silent"]) {
            failed(&daemon, path, 502, "ended without a response");

            let number = f64::from(number);
            daemon.counted("portcullis_request_failures_total", &["\"p\""], number);
            daemon.counted("portcullis_failures_total", &["\"p\"", "\"bad_answer\""], number);
        }
        assert_eq!(daemon.so_far("portcullis_failures_total", &["reason=\"cancelled\""]), 0.0);
        assert_eq!(daemon.get("/hello").status(), 200);
    }
}

#[test]
fn a_probe_that_is_not_answered_is_told_so() {
    let ended = setup("probe = { path = \"/unset\" }").fail();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("ended without a response"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_body_that_is_left_behind_never_looks_whole() {
    let daemon = serving("");
    let mut client = daemon.client();
    client.send("GET /leave HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");

    let all = client.rest();

    // The handler may fail before its head is sent, if it never waits. The client then gets a 502.
    assert!(all.starts_with(b"HTTP/1.1 502 ") || !all.ends_with(b"0\r\n\r\n"), "{}", all.escape_ascii());
    daemon.log.line("did not finish its body");
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
    let daemon = serving("limits = { time = \"5s\", output = \"3MiB\" }");
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
fn a_probe_and_a_swap_take_it_as_any_other() {
    let daemon = setup("probe = { path = \"/hello\" }")
        .prepend("admin = \"unix://admin.sock\"\nversion_header = true\n")
        .start();
    let mut client = daemon.client();
    let before = client.get("/hello");

    // The same component with one more custom section, and so with another digest.
    fs::write(daemon.path("other.wasm"), [&PROXY.bytes()[..], &[0, 3, 1, b'x', b'y']].concat()).unwrap();
    let swapped = daemon.verb(&["swap", "p", daemon.path("other.wasm").to_str().unwrap()]);

    assert_eq!(swapped.code, Some(0), "{}", swapped.stderr);
    let after = client.get("/hello");
    assert_eq!(after.text(), "hello\n");
    assert_ne!(before.field("x-portcullis-version"), after.field("x-portcullis-version"));
}

#[test]
fn a_handler_that_tells_of_a_failure_and_finishes_no_body_leaves_no_client_without_an_answer() {
    let daemon = PROXY.serving("");

    failed(&daemon, "/fail", 502, "did not finish its body");
}
