//! Bodies of any size, in both directions, at the pace of the slower side.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, never};

const GIB: u64 = 1 << 30;

/// Limits that none of these tests reaches.
const AMPLE: &str = "limits = { body = \"4GiB\", output = \"4GiB\", cpu = \"60s\", time = \"60s\" }";

/// Maximum growth of the daemon's memory from a body of any length: pipes and buffers, in KiB.
const FLAT: u64 = 16 << 10;

fn serving(program: Program) -> Daemon {
    let daemon = Setup::one(AMPLE, &program.wasm()).flag("-D").start();
    // A first request, so that its one-time allocations do not count.
    assert_eq!(daemon.client().submit("POST", "/", "", b"x").status(), 200);
    daemon
}

fn post(client: &mut Client, length: u64) {
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));
}

/// Sends until the connection has accepted nothing for 300 ms, and returns how much it accepted.
fn stuff(client: &Client, most: usize) -> usize {
    let mut socket = client.socket();
    let piece = vec![b'x'; 64 << 10];
    let mut sent = 0;
    socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while sent < most {
        match socket.write(&piece) {
            Ok(written) => sent += written,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    sent
}

#[test]
fn the_first_byte_is_out_before_the_last_is_in() {
    let daemon = serving(Program::text().echo());
    let mut client = daemon.client();
    post(&mut client, 9);

    for piece in [b"one", b"two", b"six"] {
        client.send(piece);

        if piece == b"one" {
            client.head();
        }
        assert_eq!(client.chunk(), piece);
    }
    assert_eq!(client.chunk(), b"");
}

#[test]
fn a_compressed_body_is_passed_on_as_it_came() {
    // A thousand times `a`, compressed by gzip.
    const COMPRESSED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x4b\x4c\x1c\x05\xa3\x60\x14\x0c\x77\x00\x00\x03\xda\x38\x9a\xe8\x03\x00\x00";
    let daemon = serving(Program::text().echo());

    let response = daemon.client().submit("POST", "/", "Content-Encoding: gzip\r\n", COMPRESSED);

    assert_eq!(response.status(), 200);
    assert_eq!(response.body, COMPRESSED);
}

#[test]
fn a_gibibyte_goes_through_in_flat_memory() {
    let daemon = serving(Program::text().echo());
    let before = daemon.peak_memory();
    let mut client = daemon.client();
    post(&mut client, GIB);
    let mut socket = client.socket().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let piece: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        (0..GIB >> 20).try_for_each(|_| socket.write_all(&piece))
    });
    client.head();

    let received = client.receive_chunks();

    sending.join().unwrap().unwrap();
    assert_eq!(received, GIB);
    // The limit has slack: the kernel counts memory by thread, and sums it only now and then.
    let grown = daemon.peak_memory().saturating_sub(before);
    assert!(grown < FLAT, "{grown} KiB");
}

#[test]
fn a_client_that_does_not_read_holds_the_guest_up() {
    const PIECES: u32 = 1024;
    let daemon = Setup::one(AMPLE, &Program::text().pour(PIECES).complain("done\n").wasm()).start();
    let before = daemon.peak_memory();
    let mut client = daemon.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();

    never(Duration::from_millis(300), "the guest goes on without its reader", || {
        daemon.log.count("one: done") > 0
    });

    assert!(daemon.peak_memory().saturating_sub(before) < FLAT);
    assert_eq!(client.receive_chunks(), u64::from(PIECES) << 16);
    daemon.log.line("one: done");
}

#[test]
fn a_guest_that_does_not_read_holds_the_client_up() {
    const MOST: usize = 64 << 20;
    let daemon = Setup::one(AMPLE, &Program::text().read_once().sleep_for_ever().wasm()).start();
    let before = daemon.peak_memory();
    let mut client = daemon.client();
    post(&mut client, GIB);

    let sent = stuff(&client, MOST);

    assert!(sent < MOST, "{sent} bytes went nowhere");
    assert!(daemon.peak_memory().saturating_sub(before) < FLAT);
}

#[test]
fn two_bodies_at_once_do_not_mix() {
    let daemon = serving(Program::text().echo());
    let mut clients = [daemon.client(), daemon.client()];
    clients.iter_mut().for_each(|client| post(client, 20_000));

    for _ in 0..20 {
        for (client, letter) in clients.iter_mut().zip([b'a', b'b']) {
            client.send([letter; 1000]);
        }
    }

    for (client, letter) in clients.iter_mut().zip([b'a', b'b']) {
        assert_eq!(client.response().body, [letter; 20_000]);
    }
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let daemon = serving(Program::text().pour(16));
    let mut client = daemon.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let mut seen = 0;

    loop {
        let mut little = [0; 4096];
        let read = client.socket().read(&mut little).unwrap();
        seen += read;
        if read == 0 {
            break;
        }
        std::thread::yield_now();
    }

    assert!(seen > 16 << 16, "{seen}");
}

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// A request whose body is never completed.
const HALF: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nx";

/// Asserts that a job ends within 100 ms after its client has left. Repeats the attempt, because a machine that is busy
/// with other tests may be late: for the job, for its line in the log, and for this thread.
fn freed(program: Program, request: &str, leave: impl Fn(Client)) {
    let daemon = Setup::one(AMPLE, &program.wasm()).flag("-D").start();
    let mut times = Vec::new();
    for _ in 0..50 {
        let mut client = daemon.client();
        client.send(request);
        daemon.log.next("one: begun");
        let start = Instant::now();
        leave(client);
        daemon.log.next("-job one() = ");
        let time = start.elapsed();
        if time < Duration::from_millis(100) {
            return;
        }
        times.push(time);
    }
    panic!("{times:?}");
}

#[test]
fn a_client_that_leaves_frees_a_guest_that_waits_within_100_ms() {
    let waiting = Program::new().complain("begun\n").sleep_for_ever();

    freed(waiting, GET, drop);
}

#[test]
fn a_client_that_leaves_frees_a_guest_that_computes_within_100_ms() {
    let spinning = Program::new().complain("begun\n").spin();

    freed(spinning, GET, drop);
}

#[test]
fn a_client_that_leaves_frees_a_guest_that_reads_within_100_ms() {
    let reading = Program::text().say("begun\n").complain("begun\n").swallow();

    freed(reading, HALF, drop);
}

#[test]
fn a_client_that_leaves_frees_a_guest_that_writes_within_100_ms() {
    let writing = Program::text().complain("begun\n").pour(1 << 15);

    freed(writing, GET, Client::reset);
}

#[test]
fn a_client_that_leaves_makes_room_for_the_next() {
    let program = Program::new().complain("begun\n").read_once().say("Content-Type: text/plain\n\nnext\n");
    let daemon = Setup::one("limits = { concurrency = 1, queue = 1 }", &program.wasm()).start();
    let mut first = daemon.client();
    post(&mut first, 1);
    daemon.log.line("one: begun");

    drop(first);

    assert_eq!(daemon.client().submit("POST", "/", "", b"x").text(), "next\n");
}
