//! Transfers that take longer than `limits.time`: the time in which a handler waits for its client does not count.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::harness::frames::{self, Frames, flag, frame, kind};
use crate::harness::{Client, Program, Setup, guests};
use crate::pace::read;
use crate::speaker::BOTH;

/// Sends a body in pieces, slower than the handler's time limit allows, and reads the answer.
fn uploaded_slowly(client: &mut Client, target: &str) -> String {
    const PIECES: usize = 24;
    let piece = vec![b'x'; 4 << 10];
    client.send(format!(
        "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
        PIECES * piece.len()
    ));
    for _ in 0..PIECES {
        std::thread::park_timeout(Duration::from_millis(200));
        client.send(&piece);
    }
    client.head()
}

/// A time limit that is shorter than any upload or download of these tests.
const SHORT: &str = "limits.time = \"3s\"";

#[test]
fn a_slow_upload_is_not_the_time_of_a_program_or_of_one_that_it_calls() {
    let component = std::fs::read(guests().join("calls-wasip2.wasm")).unwrap();
    let calls = std::fs::read(guests().join("calls.wasm")).unwrap();
    let echo = format!("output = \"raw\"\nargs = [\"echo\"]\n{SHORT}");
    let call =
        format!("output = \"raw\"\nargs = [\"call\", \"core\", \"echo\"]\ncalls = [\"core\"]\n{SHORT}");
    let daemon = Setup::new("")
        .handler("plain", SHORT, &read().wasm())
        .handler("core", &echo.replace("[\"echo\"]", "[]"), &calls)
        .handler("component", &call, &component)
        .handler("caller", &call, &calls)
        .start();

    for target in ["/plain", "/component", "/caller"] {
        let head = uploaded_slowly(&mut daemon.client(), target);
        assert!(head.starts_with("HTTP/1.1 200 "), "{target}: {head}");
    }
}

#[test]
fn a_slow_upload_is_not_the_time_of_a_component_that_speaks_http() {
    for guest in BOTH {
        let daemon = guest.serving(SHORT);
        let mut client = daemon.client();

        let head = uploaded_slowly(&mut client, "/echo");

        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(client.receive_chunks(), 24 * 4096);
    }
}

#[test]
fn a_slow_upload_over_http2_is_not_the_handlers_time() {
    let daemon = Setup::one(SHORT, &read().wasm()).start();
    let mut frames = Frames::begin(daemon.client(), &[]);
    frames.send(frames::head(1, "POST", "/", &[], 0));
    for _ in 0..24 {
        std::thread::park_timeout(Duration::from_millis(200));
        frames.send(frame(kind::DATA, 0, 1, &[b'x'; 1000]));
    }
    frames.send(frame(kind::DATA, flag::END_STREAM, 1, b""));

    assert_eq!(frames.answer(1).body, b"read\n");
}

#[test]
fn a_slow_download_is_not_the_handlers_time() {
    let pours = Program::text().pour(160);
    let daemon = Setup::one(SHORT, &pours.wasm()).start();
    let mut client = daemon.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();

    std::thread::park_timeout(Duration::from_millis(5000));

    assert_eq!(client.receive_chunks(), 160 << 16);
}

#[test]
fn megabytes_at_the_pace_of_a_link_pass_whole_although_the_handler_may_run_for_less() {
    // About 10 s each: 0.5 MB/s to the handler, and 1 MB/s from it. The kernel buffers less than this response.
    const PIECES: usize = 50;
    const PIECE: usize = 100_000;
    const CHUNKS: u32 = 160;
    // The time to wake the handler for each chunk counts, and is long on a busy machine.
    let settings = "limits.time = \"6s\"\nlimits.cpu = \"none\"";
    let head = format!("Content-Type: text/plain\nContent-Length: {}\n\n", CHUNKS << 16);
    let daemon = Setup::new("")
        .handler("read", settings, &read().wasm())
        .handler("pours", settings, &Program::new().say(&head).pour(CHUNKS).wasm())
        .start();

    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = daemon.client();
            let length = PIECES * PIECE;
            client.send(format!("POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));
            for _ in 0..PIECES {
                std::thread::park_timeout(Duration::from_millis(200));
                client.send(vec![b'x'; PIECE]);
            }
            let answer = client.response();
            assert_eq!((answer.status(), answer.text()), (200, "read\n"));
        });
        scope.spawn(|| {
            let mut client = Client::narrow(Ipv4Addr::LOCALHOST, daemon.port());
            client.send("GET /pours HTTP/1.1\r\nHost: test\r\n\r\n");
            assert!(client.head().starts_with("HTTP/1.1 200 "));
            for _ in 0..CHUNKS {
                std::thread::park_timeout(Duration::from_millis(60));
                client.take(1 << 16);
            }
        });
    });
}

#[test]
fn a_slow_download_is_not_the_time_of_a_component_that_speaks_http() {
    std::thread::scope(|scope| {
        for guest in BOTH {
            scope.spawn(move || {
                let daemon = guest.serving(&format!("{SHORT}\nlimits.cpu = \"none\""));
                let mut client = Client::narrow(Ipv4Addr::LOCALHOST, daemon.port());
                client.send("GET /pour/10 HTTP/1.1\r\nHost: test\r\n\r\n");
                assert!(client.head().starts_with("HTTP/1.1 200 "));

                std::thread::park_timeout(Duration::from_millis(5000));

                assert_eq!(client.receive_chunks(), 10 << 20, "{guest:?}");
            });
        }
    });
}

#[test]
fn a_message_that_comes_late_and_a_client_that_reads_late_are_not_the_time_of_an_upgraded_job() {
    let program = Program::new().say("begin\n").read_once().read_once().read_once().pour(160);
    let daemon = Setup::new(&format!(
        "[handler.one]\nmodule = \"one.wasm\"\n{SHORT}\n[[route]]\npath = \"/\"\nhandler = \"one\"\nupgrade = \"tcp\"\n"
    ))
    .file("one.wasm", &program.wasm())
    .start();
    let mut client = daemon.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    client.head();
    assert_eq!(client.take(6), b"begin\n");

    for word in ["go", "on", "now"] {
        std::thread::park_timeout(Duration::from_millis(1300));
        client.send(word);
    }
    std::thread::park_timeout(Duration::from_millis(2500));

    assert_eq!(client.drop_bytes(160 << 16), 160 << 16);
}

#[test]
fn a_client_that_is_silent_in_an_upgrade_for_as_long_as_its_job_may_run_is_ended() {
    let daemon = Setup::new(
        "[handler.one]\nmodule = \"one.wasm\"\nlimits.time = \"500ms\"\n[[route]]\npath = \"/\"\nhandler = \"one\"\nupgrade = \"tcp\"\n",
    )
    .file("one.wasm", &Program::new().say("begin\n").echo().wasm())
    .start();
    let mut client = daemon.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");

    client.rest();

    daemon.log.line("(time_limit)");
}
