//! The memory that connections hold for their clients: `http.client_memory` bounds the sum.

use std::net::Ipv4Addr;

use crate::harness::frames::{Frames, flag, frame, get, head, kind};
use crate::harness::{Client, Daemon, Program, Setup, until};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const HELD: &str = "portcullis_client_memory_bytes";

const SHED: &str = "portcullis_connections_shed_total";

/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.5.2).
const WINDOW: u16 = 4;

const LIMIT: f64 = (4 << 20) as f64;

/// `/hello` answers little, `/large` 60,000 bytes, `/read` reads its body.
fn daemon() -> Daemon {
    Setup::new("admin = \"unix://admin.sock\"\nhttp.client_memory = \"4MiB\"\n")
        .handler("hello", "", &Program::text().say("hello\n").wasm())
        .handler("large", "", &Program::text().say(&"x".repeat(60_000)).wasm())
        .handler("read", "", &Program::text().echo().wasm())
        .start()
}

/// Waits until connections were closed, and checks that the others and new ones are served.
fn sheds(daemon: &Daemon, other: &mut Client) {
    until("connections are shed", || (daemon.so_far(SHED, &[]) > 0.0).then_some(()));
    // Read once a connection was shed: before, there may be none yet.
    let held = until("the others are within the limit", || {
        Some(daemon.metric(HELD, &[])).filter(|held| *held <= LIMIT)
    });
    assert!(held > 0.0, "what stays is still held");
    other.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(other.response().text(), "hello\n");
    assert_eq!(daemon.get("/hello").text(), "hello\n");
}

#[test]
fn responses_that_a_client_never_takes_are_bounded_in_sum() {
    let daemon = daemon();
    let mut other = daemon.client();

    // 6 MB in all, in responses that are complete and wait for a window.
    let _waiting: Vec<Frames> = (0..10)
        .map(|_| {
            let mut frames = Frames::begin(Client::tcp_from(ATTACKER, daemon.port()), &[(WINDOW, 0)]);
            (0..10).for_each(|request| drop(frames.try_send(get(2 * request + 1, "/large"))));
            frames
        })
        .collect();

    sheds(&daemon, &mut other);
}

#[test]
fn heads_that_never_end_are_bounded_in_sum() {
    let daemon = daemon();
    let mut other = daemon.client();
    let field = format!("X: {}\r\n", "a".repeat(300));

    let _waiting: Vec<Client> = (0..150)
        .map(|_| {
            let mut client = Client::tcp_from(ATTACKER, daemon.port());
            let _sent = client.try_send(format!("GET /hello HTTP/1.1\r\nHost: test\r\n{}", field.repeat(95)));
            client
        })
        .collect();

    sheds(&daemon, &mut other);
}

#[test]
fn field_sections_of_http2_that_never_end_are_bounded_in_sum() {
    let daemon = daemon();
    let mut other = daemon.client();
    // A literal field that is not indexed (RFC 7541 §6.2.2), again and again.
    let literal = [&[0, 1, b'x', 127, 0][..], &[b'a'; 127]].concat();

    let _waiting: Vec<Frames> = (0..100)
        .map(|_| {
            let mut frames = Frames::begin(Client::tcp_from(ATTACKER, daemon.port()), &[]);
            let _sent = frames.try_send(frame(kind::HEADERS, flag::END_STREAM, 1, &literal.repeat(100)));
            frames
        })
        .collect();

    sheds(&daemon, &mut other);
}

#[test]
fn bodies_that_are_read_ahead_are_bounded_in_sum() {
    let daemon = daemon();
    let mut other = daemon.client();

    let _waiting: Vec<Frames> = (0..20)
        .map(|_| {
            let mut frames = Frames::begin(Client::tcp_from(ATTACKER, daemon.port()), &[]);
            for stream in [1, 3, 5, 7] {
                let _sent = frames.try_send(head(stream, "POST", "/read", &[("content-length", "60000")], 0));
                let _sent = frames.try_send(frame(kind::DATA, 0, stream, &[0; 10_000]));
            }
            frames
        })
        .collect();

    sheds(&daemon, &mut other);
}

#[test]
fn what_clients_have_taken_is_not_held_any_more() {
    let daemon = daemon();
    let mut client = daemon.client();
    let mut frames = Frames::begin(daemon.client(), &[]);

    for request in 0..50 {
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(client.response().body.len(), 60_000);
        frames.send(get(2 * request + 1, "/large"));
        assert_eq!(frames.answer(2 * request + 1).body.len(), 60_000);
        // As much as was taken, for the connection.
        frames.send(frame(kind::WINDOW_UPDATE, 0, 0, &60_000_u32.to_be_bytes()));
    }

    // Two connections, one of them with HTTP/2: 16 KiB each, and 16 KiB more.
    daemon.counted(HELD, &[], f64::from(48 << 10));
    assert_eq!(daemon.metric(SHED, &[]), 0.0);
}
