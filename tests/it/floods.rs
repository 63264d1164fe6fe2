//! Floods of frames: each flood ends its connection and its jobs, and costs almost nothing.

use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};

use crate::harness::frames::{Frames, PREFACE, block, flag, frame, get, head, kind};
use crate::harness::{Daemon, Program, Setup, figure, until};

fn daemon(settings: &str) -> Daemon {
    let setup = Setup::new(settings);
    let admin = setup.path("admin.sock");
    setup
        // A backtrace for each cancelled job would cost more than the job. The variable would request one
        // for each error of a library, but the daemon ignores it.
        .env("RUST_BACKTRACE", "1")
        .prepend(&format!("admin = \"unix://{}\"\naccess_log = true\n", admin.display()))
        .handler("hello", "", &Program::text().say("hello\n").wasm())
        .handler("sleep", "", &Program::new().sleep_for_ever().wasm())
        .handler("late", "", &Program::text().sleep(Duration::from_millis(500)).say("late\n").wasm())
        .handler("pour", "limits.output = \"1GiB\"", &Program::text().pour(1024).wasm())
        .handler("echo", "body = \"stream\"", &Program::text().echo().wasm())
        .start()
}

/// The least duration over which the cost of a flood is averaged, since a client may come back every
/// second.
const SPAN: Duration = Duration::from_secs(1);

/// The cost of a second of a flood's frames, in answers.
const OF_FRAMES: f64 = 100.0;

/// The cost of a request of a flood, in answers.
const OF_REQUEST: f64 = 1.2;

/// Returns the CPU time of an answer on this machine and in this build.
fn answer(daemon: &Daemon) -> Duration {
    const ASKED: u32 = 400;
    let (mut client, before) = (daemon.client(), daemon.cpu_time());
    for _ in 0..ASKED {
        assert_eq!(client.get("/hello").text(), "hello\n");
    }
    (daemon.cpu_time() - before) / ASKED
}

/// Sends pieces until the server ends the connection, and reads its frames meanwhile. The flood must be
/// counted and appear in one log line with its reason, and in no other line.
///
/// Returns the number of pieces sent. Fails if the server accepts all of them.
fn flood(end: &str, daemon: &Daemon, first: &[u8], most: u32, piece: impl Fn(u32) -> Vec<u8>) -> u32 {
    let answer = answer(daemon);
    let (before, start) = (daemon.cpu_time(), Instant::now());
    let mut client = Frames::begin(daemon.client(), &[]);
    let from = client.0.socket().local_addr().unwrap();
    let mut reading = client.0.socket().try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        loop {
            match reading.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    });
    client.send(first);
    let sent = (0..most)
        .take_while(|number| client.try_send(piece(*number)).is_ok() && !reader.is_finished())
        .count();
    assert!(reader.join().unwrap(), "the connection goes on after {sent} pieces");
    for handler in ["sleep", "pour"] {
        daemon.counted("portcullis_jobs_running", &[&format!("handler=\"{handler}\"")], 0.0);
    }
    let (spent, over) = (daemon.cpu_time() - before, start.elapsed().max(SPAN));
    // Pieces that became requests may cost as much as requests do, and a second of frames as much as a hundred.
    // Requests are counted a moment after their stream has ended.
    let answers = spent.as_secs_f64() / answer.as_secs_f64();
    let requests = until(&format!("{answers:.0} answers of {answer:?} in {over:?} to be allowed"), || {
        let requests = daemon.so_far("portcullis_requests_total", &["handler=\"sleep\""]);
        (answers < OF_FRAMES * over.as_secs_f64() + OF_REQUEST * requests).then_some(requests)
    });
    figure(&format!("{end}: {answers:.0} answers in {over:?} and for {requests} requests, of {answer:?}"));
    assert_eq!(daemon.get("/hello").text(), "hello\n");
    let line = daemon.log.line(&format!("INFO - -> closed: {end} for "));
    assert!(line.ends_with(&format!(" for {from}")), "{line}");
    let (_, code) = end.trim_end_matches(')').rsplit_once('(').unwrap();
    daemon.counted("portcullis_refused_total", &[&format!("reason=\"{code}\"")], 1.0);
    assert_eq!(
        (daemon.log.count("- -> closed"), daemon.log.count(" WARN ")),
        (1, 0),
        "{}",
        daemon.log.text()
    );
    u32::try_from(sent).unwrap()
}

/// The reason for frames that cause work but need no response.
const USELESS: &str = "frames that carry nothing of a request (flood)";

/// The reason for a connection that h2 ends at the first frame.
const WRONG: &str = "PROTOCOL_ERROR (malformed_request)";

fn stream(number: u32) -> u32 {
    number * 2 + 1
}

fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

#[test]
fn streams_that_are_opened_and_reset() {
    let sent = flood(USELESS, &daemon(""), b"", 200_000, |number| {
        [get(stream(number), "/sleep"), reset(stream(number))].concat()
    });

    // The kernel accepts some thousands after the server has closed.
    assert!(sent < 200_000, "{sent}");
}

#[test]
fn users_of_a_proxy_that_cancel_at_one_moment_leave_the_others_their_answers() {
    let daemon = daemon("");
    for cancelled in [95, 1001] {
        let mut client = Frames::begin(daemon.client(), &[]);
        client.send(get(1, "/late"));
        let cancels = (1..=cancelled)
            .flat_map(|number| [get(stream(number), "/sleep"), reset(stream(number))].concat());

        client.send(cancels.collect::<Vec<_>>());

        // There may also be a GOAWAY, which refuses new streams.
        let of_it = std::iter::repeat_with(|| client.next()).filter(|frame| frame.stream == 1);
        let answer: Vec<_> = of_it.take(2).collect();
        assert_eq!((answer[0].status(), &answer[1].payload[..]), (200, &b"late\n"[..]), "{cancelled}");
        if cancelled < 1000 {
            // Fewer than 1000 cancels do not stop new streams.
            let next = stream(cancelled + 1);
            client.send(get(next, "/hello"));
            let head = std::iter::repeat_with(|| client.next()).find(|frame| frame.stream == next).unwrap();
            assert_eq!(head.status(), 200);
        }
    }
    assert_eq!(daemon.log.count("(flood)"), 0, "{}", daemon.log.text());
}

#[test]
fn behind_a_thousand_cancels_no_stream_begins_and_those_that_were_begun_end() {
    const CANCELLED: u32 = 1001;
    const NO_ERROR: u32 = 0;
    let daemon = daemon("");
    let mut client = Frames::begin(daemon.client(), &[]);
    client.send([head(1, "POST", "/echo", &[], 0), frame(kind::DATA, 0, 1, b"one ")].concat());
    assert_eq!((client.next().status(), client.next().payload), (200, b"one ".to_vec()));

    let cancel = |number| [get(stream(number), "/sleep"), reset(stream(number))].concat();
    client.send((1..=CANCELLED).flat_map(cancel).collect::<Vec<_>>());

    // The first GOAWAY announces the end, the second names the last stream that was begun (RFC 9113 §6.8).
    for last in [u32::MAX >> 1, stream(CANCELLED)] {
        let away = std::iter::repeat_with(|| client.next()).find(|frame| frame.kind == kind::GOAWAY).unwrap();
        assert_eq!((&away.payload[..4], away.code()), (&last.to_be_bytes()[..], NO_ERROR));
    }
    client.send(get(stream(CANCELLED + 1), "/hello"));
    client.send(frame(kind::DATA, flag::END_STREAM, 1, b"two"));
    let mut rest = Vec::new();
    while rest != b"two" {
        let frame = client.next();
        assert_eq!((frame.kind, frame.stream), (kind::DATA, 1), "{frame:?}");
        rest.extend(frame.payload);
    }
    let late = stream(CANCELLED + 1).to_be_bytes();
    assert!(
        !client.0.rest().windows(4).any(|bytes| bytes == late),
        "a frame of the stream that came too late"
    );
    assert_eq!(daemon.so_far("portcullis_requests_total", &["handler=\"hello\""]), 0.0);
    daemon.log.line("has cancelled too many requests: no new ones are accepted on this connection");
}

#[test]
fn the_end_of_a_flood_names_what_was_begun() {
    let daemon = daemon("");
    let mut client = Frames::begin(daemon.client(), &[]);
    client.send(get(1, "/sleep"));
    client.send(get(3, "/sleep"));

    client.send(frame(kind::PING, 0, 0, &[0; 8]).repeat(1001));

    let told = std::iter::repeat_with(|| client.next()).find(|frame| frame.kind == kind::GOAWAY).unwrap();
    assert_eq!(told.payload[..8], [0, 0, 0, 3, 0, 0, 0, 11]);
}

#[test]
fn streams_that_we_are_made_to_reset() {
    let get = |number| get(stream(number), "/sleep");
    flood(WRONG, &daemon(""), b"", 20_000, |number| {
        // DATA after the end of the stream.
        [get(number), frame(kind::DATA, 0, stream(number), b"x")].concat()
    });
    flood("too_many_internal_resets (flood)", &daemon(""), b"", 20_000, |number| {
        let overflows = 0x7fff_ffff_u32.to_be_bytes();
        [get(number), frame(kind::WINDOW_UPDATE, 0, stream(number), &overflows)].concat()
    });
    flood(WRONG, &daemon(""), b"", 20_000, |number| {
        // A window increment of 0.
        [get(number), frame(kind::WINDOW_UPDATE, 0, stream(number), &[0; 4])].concat()
    });
}

#[test]
fn heads_that_are_refused_before_they_are_requests() {
    // Without a scheme, and with a field that HTTP/2 forbids.
    for fields in [&[][..], &[(":scheme", "http"), ("connection", "close")]] {
        let fields = [&[(":method", "GET"), (":path", "/sleep"), (":authority", "test")], fields].concat();
        flood("too_many_internal_resets (flood)", &daemon(""), b"", 20_000, |number| {
            frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream(number), &block(&fields))
        });
    }
}

#[test]
fn a_head_that_goes_on_for_ever() {
    let begun = frame(kind::HEADERS, flag::END_STREAM, 1, &block(&[(":method", "GET")]));
    flood("too_many_continuations (flood)", &daemon(""), &begun, 20_000, |_| {
        frame(kind::CONTINUATION, 0, 1, &block(&[("x", "y")]))
    });
    flood("too_many_continuations (flood)", &daemon(""), &begun, 20_000, |_| {
        frame(kind::CONTINUATION, 0, 1, b"")
    });
}

#[test]
fn heads_that_unpack_to_a_thousand_times_their_size() {
    // One long value goes into the table; then every byte is another copy of it (RFC 7541 §6.1).
    let mut first = vec![0x40];
    first.extend(&block(&[("x", &"v".repeat(3000))])[1..]);
    let usual =
        block(&[(":method", "GET"), (":scheme", "http"), (":path", "/hello"), (":authority", "test")]);
    let end = flag::END_HEADERS | flag::END_STREAM;
    let teach = frame(kind::HEADERS, end, 1, &[&usual[..], &first].concat());

    flood("header_list_way_too_large (flood)", &daemon(""), &teach, 5_000, |number| {
        frame(kind::HEADERS, end, stream(number + 1), &[&usual[..], &[0xbe; 16_000]].concat())
    });
}

#[test]
fn data_without_bytes() {
    let begun = head(1, "POST", "/sleep", &[], 0);
    flood("too_many_data_frames (flood)", &daemon(""), &begun, 50_000, |_| frame(kind::DATA, 0, 1, b""));
    // Padding and nothing else (RFC 9113 §6.1): the length of the frame is not 0.
    const PADDED: u8 = 8;
    flood("too_many_data_frames (flood)", &daemon(""), &begun, 50_000, |_| {
        frame(kind::DATA, PADDED, 1, &[3, 0, 0, 0])
    });
}

#[test]
fn frames_that_only_want_to_be_confirmed() {
    flood(USELESS, &daemon(""), b"", 20_000, |_| frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]));
    flood(USELESS, &daemon(""), b"", 20_000, |_| frame(kind::PING, 0, 0, &[0; 8]));
}

#[test]
fn frames_that_say_nothing() {
    flood(USELESS, &daemon(""), b"", 20_000, |number| {
        frame(kind::PRIORITY, 0, stream(number), &[0, 0, 0, 0, 1])
    });
    flood(USELESS, &daemon(""), b"", 20_000, |_| frame(0x77, 0, 0, b"unknown"));
    flood(USELESS, &daemon(""), b"", 20_000, |_| frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
    flood(WRONG, &daemon(""), b"", 20_000, |_| frame(kind::SETTINGS, flag::ACK, 0, b""));
}

#[test]
fn responses_that_nobody_takes_are_bounded_and_end() {
    let daemon = daemon("[http]\nwrite_idle = \"1s\"\nkeep_alive = \"1s\"\n");
    daemon.get("/hello");
    let before = daemon.status("VmRSS");
    // SETTINGS_INITIAL_WINDOW_SIZE
    let mut client = Frames::begin(daemon.client(), &[(4, 0)]);

    client.send((0..100).flat_map(|number| get(stream(number), "/pour")).collect::<Vec<_>>());

    let mut reset = 0;
    while reset < 100 {
        let frame = client.next();
        reset += usize::from(frame.kind == kind::RST_STREAM || (frame.kind == kind::HEADERS && frame.ends()));
        if frame.kind == kind::DATA {
            assert!(frame.ends() || frame.payload.is_empty(), "{frame:?}");
            reset += usize::from(frame.ends());
        }
    }
    // 100 pieces of 64 KiB, the same number of pipes, and the instances of the pool.
    let grown = daemon.status("VmRSS").saturating_sub(before);
    assert!(grown < 200 << 10, "{grown} KiB");
    assert_eq!(client.next().kind, kind::GOAWAY);
}

#[test]
fn half_a_preface_and_a_late_one_cost_a_connection_each() {
    let daemon = daemon("[http]\nfirst_byte = \"500ms\"\nhead = \"500ms\"\n");
    let mut clients: Vec<_> = (0..100).map(|_| daemon.client()).collect();
    for (client, length) in clients.iter_mut().zip((0..PREFACE.len()).cycle()) {
        client.send(&PREFACE[..length]);
    }

    for client in &mut clients {
        assert!(client.rest().is_empty());
    }
}
