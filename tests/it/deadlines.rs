//! The deadlines for peers that keep a connection waiting.

use std::time::{Duration, Instant};

use crate::harness::{Client, Daemon, Program, Setup, attempted, until};

/// The deadline under test, in each test.
const DEADLINE: Duration = Duration::from_millis(300);

/// The delay that a busy machine may add.
const LATE: Duration = Duration::from_secs(3);

fn daemon(settings: &str) -> Daemon {
    Setup::one("", &Program::text().echo().say("hello\n").wasm())
        .prepend(&format!("[http]\n{settings}\n"))
        .start()
}

/// Waits until the server closes, and checks that it did so at its deadline, counted from `start`.
#[track_caller]
fn closed_at_the_deadline(client: &mut Client, start: Instant) -> Vec<u8> {
    let rest = client.rest();
    on_time(start);
    rest
}

#[track_caller]
fn on_time(start: Instant) {
    let time = start.elapsed();
    // The clock of the daemon rounds to milliseconds.
    assert!(time + Duration::from_millis(2) >= DEADLINE, "too early: {time:?}");
    assert!(time < DEADLINE + LATE, "too late: {time:?}");
}

#[test]
fn a_client_that_says_nothing_is_closed_at_the_first_byte_deadline() {
    let daemon = daemon("first_byte = \"300ms\"");
    let start = Instant::now();
    let mut client = daemon.client();

    let rest = closed_at_the_deadline(&mut client, start);

    assert!(rest.is_empty());
}

#[test]
fn a_head_that_does_not_end_is_closed_at_the_head_deadline() {
    let daemon = daemon("head = \"300ms\"");
    let mut client = daemon.client();
    let start = Instant::now();

    client.send("GET / HTTP/1.1\r\nHost");

    closed_at_the_deadline(&mut client, start);
}

#[test]
fn a_head_that_comes_in_drops_is_not_given_more_time() {
    let daemon = daemon("head = \"300ms\"");
    let mut client = daemon.client();
    let start = Instant::now();

    client.send("GET / HTTP/1.1\r\nX: ");
    while client.is_silent_for(Duration::from_millis(20)) && client.try_send("x").is_ok() {
        assert!(start.elapsed() < DEADLINE + LATE);
    }

    on_time(start);
}

#[test]
fn a_head_that_begins_in_one_read_with_the_request_before_it_is_closed_at_the_head_deadline() {
    let daemon = daemon("head = \"300ms\"");
    for begun in ["G", "GET / HTTP/1.1\r\nHost", "\r\n"] {
        let mut client = daemon.client();
        let start = Instant::now();
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n\r\n{begun}"));
        assert_eq!(client.response().text(), "hello\n");

        let rest = closed_at_the_deadline(&mut client, start);

        assert!(rest.is_empty(), "{begun:?}");
    }
}

#[test]
fn a_head_that_begins_in_one_read_with_the_request_before_it_has_its_time_from_the_response_on() {
    let module = Program::new().sleep(3 * DEADLINE).say("Content-Type: text/plain\n\nslow\n").wasm();
    let daemon = Setup::one("", &module).prepend("[http]\nhead = \"300ms\"\n").start();

    // A client that has no processor for 300 ms is late with the rest of its head.
    let response = attempted(|| {
        let mut client = daemon.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\nGET / HT");
        assert_eq!(client.response().text(), "slow\n");
        let sent = client.try_send("TP/1.1\r\nHost: test\r\n\r\n");
        if sent.is_ok() && client.is_answered() { Ok(client.response()) } else { Err("closed".to_owned()) }
    });

    assert_eq!(response.text(), "slow\n");
}

#[test]
fn an_idle_connection_is_closed_at_the_keep_alive_deadline() {
    let daemon = daemon("keep_alive = \"300ms\"");
    let mut client = daemon.client();
    let start = Instant::now();
    assert_eq!(client.get("/").text(), "hello\n");

    let rest = closed_at_the_deadline(&mut client, start);

    assert!(rest.is_empty());
}

#[test]
fn an_idle_connection_is_closed_also_behind_a_handler_without_a_time_limit() {
    let module = Program::text().say("hello\n").wasm();
    let daemon =
        Setup::one("limits.time = \"none\"", &module).prepend("[http]\nkeep_alive = \"300ms\"\n").start();
    let mut client = daemon.client();
    let start = Instant::now();
    assert_eq!(client.get("/").text(), "hello\n");

    closed_at_the_deadline(&mut client, start);
}

#[test]
fn a_connection_that_is_used_in_time_is_kept() {
    let daemon = daemon("keep_alive = \"1s\"");

    attempted(|| {
        let mut client = daemon.client();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1500) {
            // A client that has no processor for a second is late.
            let Some(response) = client.get_or_closed("/") else {
                return Err(format!("{:?}", start.elapsed()));
            };
            assert_eq!(response.text(), "hello\n");
            client.is_silent_for(Duration::from_millis(100));
        }
        Ok(())
    });
}

#[test]
fn a_body_that_stops_coming_breaks_the_answer_off_at_its_deadline() {
    let daemon = daemon("body_idle = \"300ms\"");
    let mut client = daemon.client();
    let start = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345");
    client.head();
    assert_eq!(client.chunk(), b"12345");

    let rest = closed_at_the_deadline(&mut client, start);

    assert!(rest.is_empty(), "no last chunk: {}", rest.escape_ascii());
    daemon.log.line("no byte of the request body came for 300ms");
}

#[test]
fn a_body_that_stops_coming_before_the_answer_is_a_408() {
    let module = Program::new().swallow().say("Content-Type: text/plain\n\nread\n").wasm();
    let settings = "reason_header = true\n[http]\nbody_idle = \"300ms\"\n";
    let daemon = Setup::one("", &module).prepend(settings).start();
    let mut client = daemon.client();
    let start = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345");

    let response = client.response();

    on_time(start);
    assert_eq!((response.status(), response.field("x-portcullis-reason")), (408, Some("body_idle")));
    assert!(response.text().ends_with("no byte of the request body came for 300ms\n"), "{}", response.text());
    assert!(client.rest().is_empty());
}

#[test]
fn a_client_that_does_not_read_is_closed_at_the_write_deadline() {
    let module = Program::text().pour(2048).wasm();
    let settings = "access_log = true\n[http]\nwrite_idle = \"300ms\"\n";
    let daemon = Setup::one("", &module).prepend(settings).flag("-D").start();
    let mut client = daemon.client();
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    daemon.log.line("-job one() = ");

    on_time(start);
    let whole = 2048u64 << 16;
    let seen = until("what was sent by then", || Some(client.drop_bytes(whole)));
    assert!(seen < whole, "{seen}");
    assert!(daemon.log.line("GET / -> 200 ").contains(" (write_idle) (broken off) for "));
}

#[test]
fn a_request_at_the_last_moment_is_answered_all_the_same() {
    let module = Program::new().sleep(3 * DEADLINE).say("Content-Type: text/plain\n\nslow\n").wasm();
    let settings = "[http]\nfirst_byte = \"300ms\"\nhead = \"300ms\"\nkeep_alive = \"300ms\"\n";
    let daemon = Setup::one("", &module).prepend(settings).start();

    // A client that has no processor for 300 ms is late with its head.
    let response = attempted(|| daemon.client().get_or_closed("/").ok_or_else(|| "closed".to_owned()));

    assert_eq!(response.text(), "slow\n", "no deadline of the client's runs while the handler works");
}
