//! Slow clients: when they lose their slots, and when their connections are closed.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::frames::{self, Frames, flag, frame, kind};
use crate::harness::{Client, Daemon, Ends, Program, Setup, guests};

/// An address other than that of the slow clients.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// More connections than a handler has slots.
const MANY: usize = 70;

/// The longest time for an answer that does not wait until the slow clients are dropped.
const SOON: Duration = Duration::from_secs(8);

/// Reads a body to its end, then answers.
pub(crate) fn read() -> Program {
    Program::new().swallow().say("Content-Type: text/plain\n\nread\n")
}

/// Sends a request, and asserts that the answer comes before the slow clients are dropped.
#[track_caller]
fn answered_soon(client: &mut Client, request: &str) {
    let start = Instant::now();
    client.send(request);
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// Sends a byte on each connection every 500 ms while `work` runs.
fn dribbling<T>(clients: &[Client], byte: &[u8], work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // A write may fail: the daemon may have closed the connection, as intended.
                clients.iter().for_each(|client| drop(client.socket().write(byte)));
                std::thread::park_timeout(Duration::from_millis(500));
            }
        });
        let _ends = Ends(&over);
        work()
    })
}

#[test]
fn bodies_that_come_byte_by_byte_from_one_address_leave_the_same_handler_to_others() {
    for (body, byte) in [
        ("Content-Length: 1000", &b"x"[..]),
        ("Content-Length: 1000000", b"x"),
        ("Transfer-Encoding: chunked", b"1\r\nx\r\n"),
        ("Content-Length: 1000\r\nExpect: 100-continue", b"x"),
    ] {
        let daemon = Setup::one("", &read().wasm()).start();
        let slow: Vec<Client> = (0..MANY)
            .map(|_| {
                let mut client = daemon.client();
                client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{body}\r\n\r\n"));
                client
            })
            .collect();

        dribbling(&slow, byte, || {
            std::thread::park_timeout(Duration::from_millis(1500));
            for _ in 0..5 {
                let mut client = Client::tcp_from(OTHER, daemon.port());
                answered_soon(&mut client, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi");
            }
        });
    }
}

#[test]
fn bodies_that_come_byte_by_byte_leave_an_eighth_of_the_slots() {
    let daemon = Setup::one("limits.concurrency = 16", &read().wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
        .start();
    let begin = |_| {
        let mut client = daemon.client();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nx");
        client
    };
    let mut slow: Vec<Client> = (0..20).map(begin).collect();
    daemon.counted("portcullis_jobs_running", &["handler=\"one\""], 14.0);

    // From the same address as the slow clients.
    answered_soon(&mut daemon.client(), "GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    daemon.counted("portcullis_jobs_running", &["handler=\"one\""], 14.0);
    for client in &mut slow {
        client.send("yz");
        assert_eq!(client.response().text(), "read\n");
    }
}

#[test]
fn sips_of_large_answers_from_one_address_leave_the_same_handler_to_others() {
    // More than the kernel buffers of an answer, commonly 4 MiB: tcp(7), tcp_wmem.
    let pours = Program::text().pour(320);
    let daemon = Setup::one("", &pours.wasm()).start();
    let mut slow: Vec<Client> =
        (0..MANY).map(|_| Client::narrow(Ipv4Addr::LOCALHOST, daemon.port())).collect();
    slow.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n"));
    std::thread::park_timeout(Duration::from_millis(1500));

    // Two requests of another address find slots reserved for such addresses. For the third, one is freed.
    let others: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::narrow(OTHER, daemon.port());
            answered_soon(&mut client, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            client
        })
        .collect();

    daemon.log.line("while others wanted its slot (limits.concurrency_per_peer)");
    drop((slow, others));
}

#[test]
fn one_address_alone_has_every_slot() {
    let holds = Program::text().sleep(Duration::from_secs(2)).say("done\n");
    let daemon = Setup::one("limits.concurrency = 8", &holds.wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
        .start();
    let mut clients: Vec<Client> = (0..20).map(|_| daemon.client()).collect();

    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n"));

    daemon.counted("portcullis_jobs_running", &["handler=\"one\""], 8.0);
    assert!(clients.iter_mut().all(|client| client.response().status() == 200));
}

/// Clients are measured over a short window, and must be faster than those of these tests.
const FAST: &str = "[http]\nmin_rate = \"10KiB\"\nrate_window = \"400ms\"\n";

#[test]
fn a_body_that_comes_too_slowly_is_a_408_that_says_so() {
    let daemon = Setup::one("", &read().wasm()).prepend(FAST).prepend("reason_header = true\n").start();
    let mut client = daemon.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n");

    let slow = [client];
    let mut client = dribbling(&slow, b"x", || daemon.client());
    drop(slow);
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nx");
    let response = client.response();

    assert_eq!(response.status(), 408, "{}", response.text());
    assert_eq!(response.field("x-portcullis-reason"), Some("body_rate"));
    assert!(
        response.text().contains("less than 10240 bytes a second (http.min_rate)"),
        "{}",
        response.text()
    );
}

#[test]
fn a_client_that_takes_too_little_is_broken_off_and_the_log_says_so() {
    let daemon = Setup::one("", &Program::text().pour(2048).wasm())
        .prepend(FAST)
        .prepend("access_log = true\nadmin = \"unix://admin.sock\"\n")
        .start();
    let mut client = daemon.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    daemon
        .log
        .line("its response was cut off: the client takes less of the answer than it has to (http.min_rate)");

    daemon.log.line("(write_rate) (broken off)");
    daemon.counted("portcullis_failures_total", &["reason=\"write_rate\""], 1.0);
    assert!(client.drop_bytes(2048 << 16) < 2048 << 16);
}

#[test]
fn a_stream_of_http2_whose_client_opens_no_window_is_broken_off_as_too_slow() {
    let daemon = Setup::one("", &Program::text().pour(64).wasm())
        .prepend(FAST)
        .prepend("admin = \"unix://admin.sock\"\n")
        .start();
    // SETTINGS_INITIAL_WINDOW_SIZE 0 (RFC 9113 §6.5.2).
    let mut frames = Frames::begin(daemon.client(), &[(4, 0)]);
    frames.send(frames::get(1, "/"));

    let head = frames.next();
    let reset = frames.next();

    assert_eq!((head.kind, reset.kind, reset.stream), (kind::HEADERS, kind::RST_STREAM, 1));
    daemon.counted("portcullis_failures_total", &["reason=\"write_rate\""], 1.0);
}

#[test]
fn a_client_that_waits_for_its_handler_is_never_too_slow() {
    let slowly =
        (0..4).fold(Program::text(), |program, _| program.sleep(Duration::from_millis(600)).say("tick\n"));
    let daemon = Setup::one("", &slowly.wasm()).prepend(FAST).start();

    assert_eq!(daemon.get("/").text(), "tick\n".repeat(4));
}

#[test]
fn a_job_ends_and_gives_its_slot_back_while_its_client_takes_nothing() {
    let small = Program::text()
        .say(&"x".repeat(20 << 10))
        .sleep(Duration::from_millis(100))
        .say(&"y".repeat(20 << 10));
    let daemon = Setup::one("limits.concurrency = 1", &small.wasm()).flag("-D").start();
    let mut frames = Frames::begin(daemon.client(), &[(4, 0)]);

    frames.send(frames::get(1, "/"));

    daemon.log.line("-job one() = OK (0)");
    assert_eq!(daemon.get("/").body.len(), 40 << 10);
}

#[test]
fn a_component_ends_and_gives_its_slot_back_while_its_client_takes_nothing() {
    for (module, switch) in [("proxy.wasm", ""), ("service.wasm", "wasi_http_03 = true\n")] {
        let module = std::fs::read(guests().join(module)).unwrap();
        let daemon: Daemon = Setup::new(
            "[handler.p]\nmodule = \"p.wasm\"\nlimits.concurrency = 1\n[[route]]\npath = \"/{verb}\"\nhandler = \"p\"\n",
        )
        .file("p.wasm", &module)
        .prepend(switch)
        .flag("-D")
        .start();
        let mut frames = Frames::begin(daemon.client(), &[(4, 0)]);
        frames.send(frames::head(1, "POST", "/echo", &[], 0));
        for _ in 0..3 {
            frames.send(frame(kind::DATA, 0, 1, &[b'x'; 10_000]));
            std::thread::park_timeout(Duration::from_millis(50));
        }
        frames.send(frame(kind::DATA, flag::END_STREAM, 1, b""));

        daemon.log.line("-job p() = OK (0)");
    }
}
