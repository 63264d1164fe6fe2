//! Which clients keep their slots while others want them.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::harness::{Client, Program, Setup};

/// Another address than that of the others.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// How long others wait for a slot: longer than a slow client keeps one from another address.
const WAIT: &str = "limits.queue_time = \"4s\"\nlimits.output = \"none\"";

#[test]
fn upgraded_clients_that_say_nothing_keep_their_slots() {
    let daemon = Setup::new(&format!(
        "[handler.one]\nmodule = \"one.wasm\"\nlimits.concurrency = 4\n{WAIT}\n[[route]]\npath = \"/\"\nhandler = \"one\"\nupgrade = \"tcp\"\n"
    ))
    .file("one.wasm", &Program::new().say("begin\n").echo().wasm())
    .start();
    let mut silent: Vec<Client> = (0..4).map(|_| daemon.client()).collect();
    for client in &mut silent {
        client.send(UPGRADE);
        client.head();
        assert_eq!(client.take(6), b"begin\n");
    }

    let mut other = Client::tcp_from(OTHER, daemon.port());
    other.send(UPGRADE);

    assert!(other.head().starts_with("HTTP/1.1 503 "));
    for client in &mut silent {
        client.send("still here");
        assert_eq!(client.take(10), b"still here");
    }
}

#[test]
fn downloads_that_move_keep_their_slots() {
    let daemon =
        Setup::one(&format!("limits.concurrency = 2\n{WAIT}"), &Program::text().pour(1024).wasm()).start();
    let mut steady: Vec<Client> = (0..2).map(|_| daemon.client()).collect();
    steady.iter_mut().for_each(|client| client.send(GET));
    let mut other = Client::tcp_from(OTHER, daemon.port());
    let start = Instant::now();

    other.send(GET);
    while start.elapsed() < Duration::from_secs(6) {
        std::thread::park_timeout(Duration::from_millis(50));
        for client in &mut steady {
            assert!(client.drop_bytes(100 << 10) >= 100 << 10);
        }
    }

    assert!(other.head().starts_with("HTTP/1.1 503 "));
    for client in &mut steady {
        assert!(client.rest().ends_with(b"\r\n0\r\n\r\n"));
    }
}

#[test]
fn no_client_makes_room_where_one_address_is_given_all_slots() {
    let limits = format!("limits.concurrency = 2\nlimits.concurrency_per_peer = 2\n{WAIT}");
    let daemon = Setup::one(&limits.replace("4s", "10s"), &Program::text().pour(320).wasm()).start();
    let mut slow: Vec<Client> = (0..2).map(|_| daemon.client()).collect();
    slow.iter_mut().for_each(|client| client.send(GET));
    slow.iter_mut().for_each(|client| assert!(client.drop_bytes(1000) >= 1000));

    let mut own = daemon.client();
    own.send(GET);
    let mut other = Client::tcp_from(OTHER, daemon.port());
    other.send(GET);

    assert!(own.head().starts_with("HTTP/1.1 503 "));
    assert!(other.head().starts_with("HTTP/1.1 503 "));
    for client in &mut slow {
        assert!(client.rest().ends_with(b"\r\n0\r\n\r\n"));
    }
}
