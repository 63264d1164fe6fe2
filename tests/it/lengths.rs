//! `CONTENT_LENGTH` (RFC 3875 §4.1.2) of bodies whose length is not in the head.

use std::process::Command;

use crate::harness::frames::{Frames, flag, frame, head, kind};
use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, finish, found, until};

/// The bytes of a body that is written to a file before it is complete: more than is kept in memory and gathered.
const WRITTEN: usize = 500_000;

/// Serves a program that writes its variables and then its input, with a directory for stored bodies.
fn serve(settings: &str) -> Daemon {
    let program = Program::text().environment().say("\n").echo();
    let setup = Setup::one(settings, &program.wasm());
    let scratch = setup.path("scratch");
    setup.prepend(&format!("scratch = {scratch:?}\n")).start()
}

/// Splits the output of the program into its `CONTENT_LENGTH` and its input.
fn told(body: &[u8]) -> (Option<String>, &[u8]) {
    let end = body.windows(2).position(|pair| pair == b"\0\n").unwrap();
    let variables = std::str::from_utf8(&body[..end]).unwrap().split('\0');
    let mut lengths = variables.filter_map(|variable| variable.strip_prefix("CONTENT_LENGTH="));
    (lengths.next().map(str::to_owned), &body[end + 2..])
}

/// Sends a body in chunks, without the last chunk.
fn chunked(daemon: &Daemon, pieces: &[&[u8]]) -> Client {
    let mut client = daemon.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in pieces {
        client.send(format!("{:x}\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client
}

#[test]
fn a_chunked_body_has_a_content_length_whatever_its_size() {
    let daemon = serve("limits.output = \"64MiB\"");
    for size in [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 320 << 10, 1_000_000, 15_000_000] {
        let whole: Vec<u8> = (0..size).map(|at: usize| (at ^ (at >> 8)) as u8).collect();
        let mut client = chunked(&daemon, &whole.chunks(100_000).collect::<Vec<_>>());
        client.send("0\r\n\r\n");

        let response = client.response();

        assert_eq!(response.status(), 200, "{size}");
        let (length, read) = told(&response.body);
        assert_eq!(length, Some(size.to_string()));
        assert!(read == whole, "{size}: {} bytes were read", read.len());
    }
    let left = std::fs::read_dir(daemon.path("scratch")).unwrap().count();
    assert_eq!(left, 0, "nothing of a body is left behind");
}

#[test]
fn a_body_that_memory_can_hold_until_it_is_complete_is_not_written() {
    let daemon = serve("");
    // From now on no file can be made there.
    std::fs::remove_dir_all(daemon.path("scratch")).unwrap();
    let mut small = chunked(&daemon, &[&[b'x'; 100_000], &[b'x'; 100_000]]);
    small.send("0\r\n\r\n");

    let response = small.response();

    assert_eq!(response.status(), 200, "{}", response.text());
    assert_eq!(told(&response.body), (Some("200000".to_owned()), &[b'x'; 200_000][..]));
    let mut large = begun(&daemon, 1, WRITTEN);
    assert_eq!(large.response().status(), 503);
}

#[test]
fn a_body_over_http2_that_has_no_length_gets_one() {
    let daemon = serve("");
    let mut frames = Frames::begin(daemon.client(), &[]);
    frames.send(head(1, "POST", "/", &[], 0));
    frames.send(frame(kind::DATA, 0, 1, b"shout"));
    frames.send(frame(kind::DATA, flag::END_STREAM, 1, b" it"));

    let answer = frames.answer(1);

    assert_eq!(answer.status, 200);
    assert_eq!(told(&answer.body), (Some("8".to_owned()), &b"shout it"[..]));
}

#[test]
fn a_large_body_over_http2_that_has_no_length_gets_one() {
    if !found(&["curl"], "curl") {
        return;
    }
    let daemon = serve("limits.output = \"64MiB\"");
    let whole: Vec<u8> = (0..3 * WRITTEN).map(|at: usize| (at ^ (at >> 8)) as u8).collect();
    let url = format!("http://127.0.0.1:{}/", daemon.port());
    let args = ["-sS", "--http2-prior-knowledge", "-X", "POST", "-T", "-", "--max-time", "20", &url];

    let ended = finish(Command::new("curl").args(args), &whole, PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (length, read) = told(&ended.stdout);
    assert_eq!(length, Some(whole.len().to_string()));
    assert!(read == whole, "{} bytes", read.len());
}

#[test]
fn a_request_without_a_body_has_no_content_length() {
    let daemon = serve("");

    let response = daemon.get("/");

    assert_eq!(told(&response.body), (None, &b""[..]));
}

#[test]
fn a_handler_that_streams_reads_a_body_before_its_end() {
    let daemon = serve("body = \"stream\"");
    let mut client = chunked(&daemon, &[b"one"]);

    client.head();
    let mut read = Vec::new();
    while !read.ends_with(b"\0\none") {
        read.extend(client.chunk());
    }

    assert_eq!(told(&read), (None, &b"one"[..]));
}

#[test]
fn a_body_that_is_gathered_takes_no_slot_and_stays_within_its_limits() {
    let daemon = serve("limits = { concurrency = 1, queue = 0, body = \"200KB\" }");
    let waiting = chunked(&daemon, &[&[b'x'; 150_000]]);

    // The only slot is free for other requests.
    assert_eq!(daemon.get("/").status(), 200);
    drop(waiting);
    let mut large = chunked(&daemon, &[&[b'x'; 150_000], &[b'x'; 50_001]]);
    let refused = large.response();

    assert_eq!(refused.status(), 413, "{}", refused.text());
}

#[test]
fn a_body_that_has_no_room_is_refused_and_says_so() {
    let program = Program::text().echo();
    // An unusable directory cannot store bodies: the daemon starts, and reports what is missing.
    let setup = Setup::one("", &program.wasm()).env("CACHE_DIRECTORY", "/proc/nothing");
    let daemon = setup.prepend("cache = \"none\"\nreason_header = true\n").start();
    daemon.log.line("there is no scratch directory");
    let mut small = chunked(&daemon, &[b"fits"]);
    small.send("0\r\n\r\n");
    assert_eq!(small.response().text(), "fits");

    let mut large = chunked(&daemon, &[&[b'x'; 100_000], &[b'x'; 100_000]]);

    let refused = large.response();
    // A permanent failure, so clients are not asked to try again.
    let said = [refused.field("x-portcullis-reason"), refused.field("retry-after")];
    assert_eq!((refused.status(), said), (411, [Some("length_required"), None]));
    let mut whole = daemon.client();
    whole.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\n\r\n");
    whole.send(vec![b'x'; 200_000]);
    let whole = whole.response();
    assert_eq!((whole.status(), whole.text().len()), (200, 200_000));
    until("the log says what to do", || (daemon.log.count("body = \"stream\"") > 0).then_some(()));
}

#[test]
fn bodies_of_one_address_that_do_not_end_leave_room_for_those_of_another() {
    let daemon = serve("");
    let _unended: Vec<Client> = (0..16).map(|_| begun(&daemon, 1, WRITTEN)).collect();
    until("sixteen bodies are kept", || (kept(&daemon) == 16).then_some(()));
    let refused = begun(&daemon, 1, 200_000).response();
    let mut other = begun(&daemon, 2, 200_000);
    other.send("0\r\n\r\n");

    assert_eq!(refused.status(), 503);
    daemon.log.line("the clients of one address may keep 16 bodies");
    assert_eq!(told(&other.response().body).0, Some("200000".to_owned()));
    assert_eq!(kept(&daemon), 16);
}

#[test]
fn bodies_of_few_addresses_that_do_not_end_make_room_for_that_of_another() {
    let daemon = serve("");
    let mut unended: Vec<Client> = (0..32).map(|at| begun(&daemon, 1 + at % 3, WRITTEN)).collect();
    until("as many bodies are kept as may be", || (kept(&daemon) == 32).then_some(()));

    let mut other = begun(&daemon, 4, 200_000);
    other.send("0\r\n\r\n");

    let response = other.response();
    assert_eq!(response.status(), 200, "{}", response.text());
    // One of those with eleven bodies has lost one.
    until("the other bodies are still kept", || (kept(&daemon) == 31).then_some(()));
    let mut outcomes: Vec<u16> = unended.iter_mut().map(end).collect();
    outcomes.sort_unstable();
    assert_eq!((outcomes[30], outcomes[31]), (200, 503));
}

/// Ends a body. Returns the status of the response, which may have come before.
fn end(client: &mut Client) -> u16 {
    let _refused_by_then = client.try_send("0\r\n\r\n");
    client.response().status()
}

/// Begins a body of `size` bytes in one chunk from this loopback address.
fn begun(daemon: &Daemon, last: u8, size: usize) -> Client {
    let mut client = Client::tcp_from(std::net::Ipv4Addr::new(127, 0, 0, last), daemon.port());
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("{size:x}\r\n"));
    client.send(vec![b'x'; size]);
    client.send("\r\n");
    client
}

/// Counts the files of stored bodies.
fn kept(daemon: &Daemon) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let files = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let scratch = daemon.path("scratch");
    files.filter(|path| path.starts_with(&scratch) && *path != scratch).count()
}
