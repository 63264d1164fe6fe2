//! HTTP/2 with independent clients, and frame by frame.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::frames::{Frames, INTERNAL_ERROR, block, flag, frame, get, head, kind};
use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, attempted, finish, found};

/// `/hello` answers at once, `/echo` sends the body back, `/sleep` never answers, `/late` fails late.
pub(crate) fn daemon(settings: &str) -> Daemon {
    let late = Program::text().say("begun\n").read_once().trap();
    Setup::new(settings)
        .handler("hello", "", &Program::text().say("hello\n").wasm())
        .handler("echo", "body = \"stream\"", &Program::text().echo().wasm())
        .handler("env", "", &Program::text().environment().wasm())
        .handler("sleep", "", &Program::new().sleep_for_ever().wasm())
        .handler("late", "body = \"stream\"", &late.wasm())
        .handler("pour", "limits.output = \"1GiB\"", &Program::text().pour(1024).wasm())
        .flag("-D")
        .start()
}

pub(crate) fn begin(daemon: &Daemon) -> Frames {
    Frames::begin(daemon.client(), &[])
}

fn url(daemon: &Daemon, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", daemon.port())
}

/// Runs a client, which must succeed, and returns what it printed.
fn run(program: &str, args: &[&str], url: &str) -> String {
    let ended = finish(Command::new(program).args(args).arg(url), b"", PATIENCE);
    assert_eq!(ended.code, Some(0), "{program} {args:?}: {}", ended.stderr);
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn curl_that_knows_beforehand_gets_and_posts() {
    if !found(&["curl"], "curl") {
        return;
    }
    let daemon = daemon("");
    let curl = |args: &[&str], path: &str| {
        let args = [&["--http2-prior-knowledge", "-sS"], args].concat();
        run("curl", &args, &url(&daemon, path))
    };

    assert_eq!(curl(&["-w", "%{http_version} %{response_code}"], "/hello"), "hello\n2 200");
    assert_eq!(curl(&["-d", "some text"], "/echo"), "some text");
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{response_code}"], "/nowhere"), "404");
    assert!(curl(&[], "/env").contains("SERVER_PROTOCOL=HTTP/2.0"), "{}", curl(&[], "/env"));
    assert!(curl(&["-I"], "/hello").starts_with("HTTP/2 200"), "a head alone");
    let refused = curl(&["-I"], "/nowhere");
    assert!(refused.starts_with("HTTP/2 404") && refused.contains("content-length: "), "{refused}");
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{size_download}"], "/pour"), (1024 << 16).to_string());
}

#[test]
fn a_response_to_head_has_no_body_whatever_gives_it() {
    let daemon = daemon("[[route]]\npath = \"/fixed\"\nrespond = { body = \"fixed\" }\n");
    let mut client = begin(&daemon);

    let asked = [("/nowhere", 404), ("/healthz", 200), ("/fixed", 200), ("/hello", 200)];
    for (stream, (path, status)) in (1..).step_by(2).zip(asked) {
        client.send(head(stream, "HEAD", path, &[], flag::END_STREAM));

        let answer = client.next();
        assert!(answer.kind == kind::HEADERS && answer.ends(), "{path}: {answer:?}");
        assert_eq!((answer.stream, answer.status()), (stream, status), "{path}");
    }
}

#[test]
fn nghttp_reads_a_response_and_h2load_many() {
    if !found(&["nghttp", "h2load"], "nghttp2-client") {
        return;
    }
    let daemon = daemon("");

    assert_eq!(run("nghttp", &["--no-dep"], &url(&daemon, "/hello")), "hello\n");
    let load = run("h2load", &["-n", "2000", "-c", "4", "-m", "32"], &url(&daemon, "/hello"));

    assert!(load.contains("2000 succeeded, 0 failed, 0 errored"), "{load}");
    assert!(load.contains("2000 2xx"), "{load}");
}

#[test]
fn requests_stand_beside_each_other_and_none_waits_for_another() {
    let daemon = daemon("");
    let mut client = begin(&daemon);

    client.send(get(1, "/sleep"));
    client.send(get(3, "/hello"));

    assert_eq!(client.answer(3).body, b"hello\n");
    client.send(head(5, "POST", "/echo", &[], 0));
    client.send(frame(kind::DATA, flag::END_STREAM, 5, b"text"));
    let answer = client.answer(5);
    assert_eq!((answer.status, &*answer.body), (200, &b"text"[..]));
}

#[test]
fn a_reset_ends_the_job_at_once() {
    let daemon = daemon("");
    let mut client = begin(&daemon);
    client.send(get(1, "/sleep"));
    daemon.log.line("+job sleep(");

    client.send(frame(kind::RST_STREAM, 0, 1, &8_u32.to_be_bytes()));

    daemon.log.line("-job sleep(");
    client.send(get(3, "/hello"));
    assert_eq!(client.answer(3).status, 200);
}

/// RFC 9113 §5.1 lets a server close the connection for this, but §6.1 requires a stream error.
#[test]
fn data_behind_the_end_of_a_stream_resets_that_stream_alone() {
    const STREAM_CLOSED: u32 = 5;
    let daemon = daemon("");

    // A stream that the daemon has not let go yet is at work, for which the next test has the answer.
    let mut frames = attempted(|| {
        let mut frames = begin(&daemon);
        frames.send(get(1, "/hello"));
        assert_eq!(frames.answer(1).status, 200);
        frames.send(frame(kind::DATA, flag::END_STREAM, 1, b"more"));
        let reset = frames.next();
        let told = (reset.kind, reset.stream, reset.code());
        if told == (kind::RST_STREAM, 1, STREAM_CLOSED) { Ok(frames) } else { Err(format!("{reset:?}")) }
    });

    frames.send(get(3, "/hello"));
    assert_eq!(frames.next().stream, 3);
}

/// RFC 9113 §5.1 asks for a reset of the stream. h2 decides otherwise (`recv_data` of its `Recv`), and http.md says so.
#[test]
fn data_behind_the_end_of_a_stream_at_work_closes_the_connection_and_ends_its_jobs() {
    const PROTOCOL_ERROR: u32 = 1;
    let daemon = daemon("");
    let mut frames = begin(&daemon);
    frames.send([get(1, "/sleep"), get(3, "/sleep")].concat());
    daemon.log.lines(2, "+job sleep(");

    frames.send(frame(kind::DATA, flag::END_STREAM, 1, b"more"));

    let away = frames.next();
    assert_eq!((away.kind, away.code()), (kind::GOAWAY, PROTOCOL_ERROR), "{away:?}");
    daemon.log.lines(2, "-job sleep(");
}

#[test]
fn a_client_that_leaves_ends_its_jobs_at_once() {
    let daemon = daemon("");
    let mut client = begin(&daemon);
    client.send([get(1, "/sleep"), get(3, "/sleep")].concat());
    daemon.log.lines(2, "+job sleep(");

    drop(client);

    daemon.log.lines(2, "-job sleep(");
}

#[test]
fn a_late_failure_resets_the_stream_and_nothing_else() {
    let daemon = daemon("");
    let mut client = begin(&daemon);
    client.send(head(1, "POST", "/late", &[], 0));
    assert_eq!(client.next().status(), 200);
    assert_eq!(client.next().payload, b"begun\n");

    client.send(frame(kind::DATA, 0, 1, b"x"));

    let reset = client.next();
    assert_eq!((reset.kind, reset.stream, reset.code()), (kind::RST_STREAM, 1, INTERNAL_ERROR));
    client.send(get(3, "/hello"));
    assert_eq!(client.answer(3).body, b"hello\n");
}

#[test]
fn what_is_under_way_is_answered_when_the_daemon_drains() {
    let mut daemon = daemon("");
    let mut client = begin(&daemon);
    client.send(head(1, "POST", "/echo", &[], 0));
    client.send(frame(kind::DATA, 0, 1, b"one "));
    assert_eq!(client.next().status(), 200);
    assert_eq!(client.next().payload, b"one ");

    daemon.signal(rustix::process::Signal::TERM);

    assert_eq!(client.next().kind, kind::GOAWAY);
    client.send(frame(kind::DATA, flag::END_STREAM, 1, b"two"));
    let rest: Vec<_> =
        std::iter::repeat_with(|| client.next()).filter(|frame| frame.kind == kind::DATA).take(1).collect();
    assert_eq!(rest[0].payload, b"two");
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

#[test]
fn what_h2_keeps_for_a_slow_client_is_sent_when_the_daemon_drains() {
    let long = "x".repeat(20_000);
    let mut daemon = Setup::one("", &Program::text().say(&long).wasm()).prepend("grace = \"30s\"\n").start();
    // SETTINGS_INITIAL_WINDOW_SIZE
    let mut client = Frames::begin(daemon.client(), &[(4, 2_000)]);
    client.send(get(1, "/"));
    assert_eq!(client.next().status(), 200);
    assert_eq!(client.next().payload.len(), 2_000);

    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!([client.next().kind, client.next().kind], [kind::GOAWAY; 2]);
    // Longer than the 2 s after which a connection without a request is closed.
    for piece in 1..=6 {
        assert!(client.0.is_silent_for(Duration::from_millis(500)), "piece {piece}");
        client.send(frame(kind::WINDOW_UPDATE, 0, 1, &3_000_u32.to_be_bytes()));
        // The daemon sends as many frames as the job wrote pieces.
        let mut left = 3_000;
        while left > 0 {
            let frame = client.next();
            assert_eq!(frame.kind, kind::DATA, "piece {piece}");
            left -= frame.payload.len();
        }
    }

    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

#[test]
fn a_connection_without_requests_is_told_to_go() {
    let daemon = daemon("[http]\nkeep_alive = \"1s\"\n");
    let mut client = begin(&daemon);
    client.send(get(1, "/hello"));
    client.answer(1);

    assert_eq!(client.next().kind, kind::GOAWAY);

    // The second GOAWAY names the last stream.
    assert_eq!(client.next().kind, kind::GOAWAY);
    assert!(client.0.rest().is_empty());
}

#[test]
fn a_client_that_only_pings_is_no_less_without_requests() {
    let daemon = daemon("[http]\nkeep_alive = \"1s\"\nwrite_idle = \"1s\"\n");
    let client = begin(&daemon);

    let is_closed = (0..40).any(|_| !ping(client.0.socket(), Duration::from_millis(500)));

    assert!(is_closed, "20 s of PINGs keep it");
}

#[test]
fn a_client_that_only_pings_does_not_hold_up_a_drain() {
    let mut daemon = daemon("");
    let mut client = begin(&daemon);
    client.send(get(1, "/hello"));
    client.answer(1);
    daemon.signal(rustix::process::Signal::TERM);

    let start = Instant::now();
    while ping(client.0.socket(), Duration::from_millis(100)) {
        // Half of `write_idle`, the time for which a client may read nothing.
        assert!(start.elapsed() < Duration::from_secs(15), "PINGs keep it");
    }

    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

/// Sends a PING, and acknowledges nothing that arrives within this time, in particular not the PING of the graceful
/// shutdown. Returns `true` if the connection still exists.
fn ping(mut socket: &TcpStream, time: Duration) -> bool {
    let next = Instant::now() + time;
    if socket.write_all(&frame(kind::PING, 0, 0, &[0; 8])).is_err() {
        return false;
    }
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        socket.set_read_timeout(Some(left)).unwrap();
        match socket.read(&mut [0; 4096]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return true,
                _ => return false,
            },
        }
    }
}

#[test]
fn a_client_that_does_not_read_one_response_loses_that_one() {
    let daemon = daemon("[http]\nwrite_idle = \"500ms\"\n");
    // SETTINGS_INITIAL_WINDOW_SIZE
    let mut client = Frames::begin(daemon.client(), &[(4, 0)]);
    client.send(get(1, "/pour"));
    assert_eq!(client.next().status(), 200);

    let reset = client.next();

    assert_eq!((reset.kind, reset.stream), (kind::RST_STREAM, 1));
    daemon.log.line("-job pour(");
}

#[test]
fn the_admin_socket_speaks_it_and_says_the_status_in_a_trailer() {
    let setup = Setup::one("", &Program::text().say("hello\n").wasm());
    let path = setup.path("admin.sock");
    let _daemon = setup.prepend(&format!("admin = \"unix://{}\"\n", path.display())).start();
    let mut client = Frames::begin(Client::unix(&path), &[]);
    let all =
        [(":method", "POST"), (":scheme", "http"), (":path", "/jobs/status"), (":authority", "localhost")];

    client.send(frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block(&all)));

    let answer = client.answer(1);
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8(answer.body).unwrap().contains("open"));
}
