//! Request bodies that no handler reads: a short rest is drained, a longer one closes the connection.

use std::time::{Duration, Instant};

use crate::harness::{Client, Daemon, Program, Setup};

/// Maximum bytes of an unread body that the daemon drains.
const MOST: usize = 64 << 10;

/// Maximum time of the drain.
const TIME: Duration = Duration::from_secs(5);

/// `/deaf` answers without reading the body, `/sip` after reading its beginning.
fn daemon() -> Daemon {
    Setup::new("")
        .handler("deaf", "body = \"stream\"", &Program::text().say("not asked\n").wasm())
        .handler("sip", "", &Program::text().read_once().say("sipped\n").wasm())
        .start()
}

fn begin(daemon: &Daemon, path: &str, fields: &str) -> Client {
    let mut client = daemon.client();
    client.send(format!("POST {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    client
}

#[test]
fn a_body_up_to_the_bound_comes_behind_its_answer_and_the_connection_goes_on() {
    let daemon = daemon();
    for path in ["/deaf", "/nowhere"] {
        let mut client = begin(&daemon, path, &format!("Content-Length: {MOST}\r\n"));
        assert!(matches!(client.response().status(), 200 | 404));

        client.send(vec![b'x'; MOST]);

        assert_eq!(client.get("/deaf").text(), "not asked\n", "{path}");
    }
    let mut client = begin(&daemon, "/sip", "Content-Length: 20\r\n");
    client.send(b"0123456789");
    assert_eq!(client.response().status(), 200);
    client.send(b"0123456789");
    assert_eq!(client.get("/deaf").status(), 200);
}

#[test]
fn a_body_of_unknown_length_is_dropped_up_to_the_bound() {
    let daemon = daemon();
    let mut client = begin(&daemon, "/deaf", "Transfer-Encoding: chunked\r\n");
    assert_eq!(client.response().status(), 200);
    client.send(format!("{MOST:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(MOST)));
    assert_eq!(client.get("/deaf").status(), 200);

    client.send("POST /deaf HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    // Four times the bound: hyper may have read more than it has handed out, but closes before it has read all.
    let much = 4 * MOST;
    let _sent = client.try_send(format!("{much:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(much)));
    assert_eq!(client.get_or_closed("/deaf").map(|response| response.status()), None);
}

#[test]
fn a_body_beyond_the_bound_closes_the_connection_behind_the_answer() {
    let daemon = daemon();
    for path in ["/deaf", "/nowhere"] {
        let mut client = begin(&daemon, path, &format!("Content-Length: {}\r\n", MOST + 1));
        let start = Instant::now();

        assert!(matches!(client.response().status(), 200 | 404));

        assert!(client.rest().is_empty());
        assert!(start.elapsed() < TIME, "at once: {:?}", start.elapsed());
    }
}

#[test]
fn a_body_that_does_not_come_closes_the_connection_after_a_while() {
    let daemon = daemon();
    // Before the request: the daemon may answer and begin to wait before this thread goes on.
    let start = Instant::now();
    let mut client = begin(&daemon, "/deaf", "Content-Length: 1000\r\n");
    client.send(b"begun");

    assert_eq!(client.response().text(), "not asked\n");

    assert!(client.rest().is_empty());
    assert!((TIME..TIME * 5).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_not_asked_behind_the_answer() {
    let daemon = daemon();
    let mut client = begin(&daemon, "/deaf", "Content-Length: 1000\r\nExpect: 100-continue\r\n");
    let start = Instant::now();

    assert_eq!(client.response().text(), "not asked\n");

    assert!(client.rest().is_empty());
    assert!(start.elapsed() < TIME, "at once: {:?}", start.elapsed());
}

#[test]
fn a_connection_that_is_to_close_does_not_wait_for_a_body() {
    let daemon = daemon();
    let mut client = begin(&daemon, "/deaf", "Content-Length: 1000\r\nConnection: close\r\n");
    let start = Instant::now();

    assert_eq!(client.response().text(), "not asked\n");

    assert!(client.rest().is_empty());
    assert!(start.elapsed() < TIME, "at once: {:?}", start.elapsed());
}
