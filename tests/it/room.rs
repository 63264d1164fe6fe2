//! Which clients keep their slots while others wait for one.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Client, PATIENCE, Program, Setup, until};

/// An address other than that of the first clients.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";

/// How long others wait for a slot: longer than a slow client may keep one from another address.
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
fn clients_of_one_address_that_hold_their_slots_for_good_leave_some_to_others() {
    let daemon = Setup::new(
        "[handler.one]\nmodule = \"one.wasm\"\nlimits.concurrency = 64\nlimits.queue_time = \"300ms\"\n[[route]]\npath = \"/\"\nhandler = \"one\"\nupgrade = \"tcp\"\n",
    )
    .file("one.wasm", &Program::new().say("begin\n").echo().wasm())
    .start();
    let upgraded = |mut client: Client| {
        client.send(UPGRADE);
        let status = client.head()[9..12].to_owned();
        (status, client)
    };

    let one: Vec<_> = (0..70).map(|_| upgraded(daemon.client())).collect();
    let others: Vec<_> = (0..3).map(|_| upgraded(Client::tcp_from(OTHER, daemon.port()))).collect();

    let switched =
        |clients: &[(String, Client)]| clients.iter().filter(|(status, _)| status == "101").count();
    // A thirty-second of the 64 slots is reserved for other addresses.
    assert_eq!((switched(&one), switched(&others)), (62, 2));
    drop(one);
    // Slots that are given back can be taken again.
    let again: Vec<_> = (0..62)
        .map(|_| {
            until("a slot is free", || Some(upgraded(daemon.client())).filter(|(status, _)| status == "101"))
        })
        .collect();
    assert_eq!(switched(&again), 62);
}

#[test]
fn an_address_that_waits_for_its_own_slots_holds_up_no_other() {
    let settings = "limits.concurrency = 64\nlimits.concurrency_per_peer = 1\nlimits.queue_time = \"60s\"";
    let daemon = Setup::new(&format!(
        "admin = \"unix://admin.sock\"\n[handler.one]\nmodule = \"one.wasm\"\n{settings}\n[[route]]\npath = \"/\"\nhandler = \"one\"\nupgrade = \"tcp\"\n"
    ))
    .file("one.wasm", &Program::new().say("begin\n").echo().wasm())
    .start();
    let upgraded = |mut client: Client| {
        client.send(UPGRADE);
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        client
    };
    let waiting = |mut client: Client, waiting: f64| {
        client.send(UPGRADE);
        daemon.counted("portcullis_jobs_waiting", &["handler=\"one\""], waiting);
        client
    };
    // One address takes all it may have, and one request waits. Another takes the rest, and one request waits.
    let _one: Vec<_> = (0..62).map(|_| upgraded(daemon.client())).collect();
    let _more = waiting(daemon.client(), 1.0);
    let others: Vec<_> = (0..2).map(|_| upgraded(Client::tcp_from(OTHER, daemon.port()))).collect();
    let mut other = waiting(Client::tcp_from(OTHER, daemon.port()), 2.0);

    drop(others);

    assert!(other.head().starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_request_that_was_accepted_before_the_daemon_drains_is_answered_though_it_has_no_slot_yet() {
    let echo = Program::text().echo().wasm();
    let waits = Program::text().await_file("go").say("woken\n").wasm();
    let settings = "limits.concurrency = 1\nmounts = [{ host = \"held\", guest = \"/held\" }]";
    let setup = Setup::new("admin = \"unix://admin.sock\"\n")
        .handler("echo", "limits.concurrency = 8", &echo)
        .handler("waits", settings, &waits);
    std::fs::create_dir(setup.path("held")).unwrap();
    let mut daemon = setup.start();
    // So many requests make slots scarce: the daemon then reads a request's body before it starts the job.
    let post =
        |length: usize| format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
    let mut begun: Vec<Client> = (0..9).map(|_| daemon.client()).collect();
    for (running, client) in (1_u8..).zip(&mut begun) {
        client.send(post(3));
        daemon.counted("portcullis_jobs_running", &["handler=\"echo\""], f64::from(running.min(7)));
    }
    let mut held: Vec<Client> = (0..2).map(|_| daemon.client()).collect();
    held.iter_mut().for_each(|client| client.send("GET /waits HTTP/1.1\r\nHost: test\r\n\r\n"));
    daemon.counted("portcullis_jobs_waiting", &["handler=\"waits\""], 1.0);

    daemon.signal(Signal::TERM);
    daemon.log.line("draining: requests under way have");
    begun.iter_mut().for_each(|client| client.send("abc"));
    std::fs::write(daemon.path("held/go"), "").unwrap();

    for client in &mut begun {
        let response = client.response();
        assert_eq!((response.status(), response.text()), (200, "abc"));
    }
    for client in &mut held {
        assert_eq!(client.response().text(), "woken\n");
    }
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

#[test]
fn downloads_that_move_keep_their_slots() {
    let daemon =
        Setup::one(&format!("limits.concurrency = 2\n{WAIT}"), &Program::text().pour(1024).wasm()).start();
    let mut steady: Vec<Client> =
        (0..2).map(|_| Client::narrow(Ipv4Addr::LOCALHOST, daemon.port())).collect();
    steady.iter_mut().for_each(|client| client.send(GET));
    // Both have their slots before the other client connects.
    steady.iter_mut().for_each(|client| assert!(client.drop_bytes(1000) >= 1000));
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
    let mut slow: Vec<Client> = (0..2).map(|_| Client::narrow(Ipv4Addr::LOCALHOST, daemon.port())).collect();
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
