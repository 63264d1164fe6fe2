//! The limits on the outbound requests of one job: their number, time and size.

use std::time::{Duration, Instant};

use super::{SOCKETS, ask, asker};
use crate::harness::origin::read_body;
use crate::harness::{Origin, Program, Setup, free_port, guests, until};

/// Allows one server at 127.0.0.1.
fn allowing(origin: &Origin, settings: &str) -> (String, Setup) {
    let url = format!("http://127.0.0.1:{}", origin.port());
    let setup = asker(&format!("allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.1\"]\n{settings}"));
    (url, setup)
}

/// A server that accepts requests and sends nothing until the client leaves.
fn tarpit() -> Origin {
    Origin::of("127.0.0.1", |_, stream| {
        let _left = stream.read(&mut [0]);
    })
}

#[test]
fn one_call_more_than_the_limit_is_refused() {
    let origin = Origin::text("127.0.0.1", "hello");
    let (url, setup) = allowing(&origin, "limits.outbound.calls = 3");
    let daemon = setup.start();
    let call = format!("GET {url}/");

    let said = ask(&daemon, &[&call; 4]);

    assert_eq!(said[..3], ["200 hello"; 3]);
    assert!(said[3].starts_with("beyond limits.outbound: "), "{said:?}");
    assert_eq!(origin.hits(), 3);
    // The next request has limits of its own.
    assert_eq!(ask(&daemon, &[&call]), ["200 hello"]);
}

#[test]
fn calls_that_are_held_open_count_until_they_are_let_go() {
    // A head, and a body that never ends.
    let origin = Origin::of("127.0.0.1", |_, stream| {
        let _told = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        let _left = stream.read(&mut [0]);
    });
    let (url, setup) = allowing(&origin, "limits.outbound = { at_once = 2, connect = \"3s\" }");
    let daemon = setup.start();
    let hold = format!("hold {url}/");

    let said = ask(&daemon, &[&hold; 3]);

    assert_eq!(said[..2], ["held 1", "held 2"]);
    assert!(said[2].starts_with("beyond limits.outbound: "), "{said:?}");
    assert_eq!(origin.hits(), 2);
}

#[test]
fn a_response_at_the_limit_passes_and_one_byte_more_does_not() {
    let body = |size: usize| "x".repeat(size);
    let (fits, exceeds) = (Origin::text("127.0.0.1", &body(1000)), Origin::text("127.0.0.1", &body(1001)));
    // The length is unknown, so the limit shows only while the body arrives.
    let chunked = Origin::of("127.0.0.1", |_, stream| {
        let _told = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes()).is_ok() {}
    });
    let urls = [&fits, &exceeds, &chunked].map(|origin| format!("http://127.0.0.1:{}", origin.port()));
    let daemon =
        asker(&format!("allow = {urls:?}\nallow_addresses = [\"127.0.0.1\"]\nlimits.outbound.body = 1000"))
            .start();

    let said = ask(&daemon, &urls.each_ref().map(|url| format!("GET {url}/")));

    assert_eq!(said[0], format!("200 {}", body(1000)));
    assert!(said[1].starts_with("beyond limits.outbound: "), "{said:?}");
    assert!(said[2].starts_with("200 and then beyond limits.outbound: "), "{said:?}");
}

#[test]
fn a_request_at_the_limit_passes_and_one_byte_more_does_not() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let origin = Origin::of("127.0.0.1", |head, stream| {
        if read_body(head, stream).is_some() {
            let _told = stream.write_all(ANSWER);
        }
    });
    let (url, setup) = allowing(&origin, "limits.outbound.body = 100_000");
    let daemon = setup.start();

    let said = ask(&daemon, &[&format!("POST {url}/ size 100000"), &format!("POST {url}/ size 100001")]);

    assert_eq!(said[0], "200 ok");
    assert!(said[1].starts_with("beyond limits.outbound: "), "{said:?}");
}

#[test]
fn a_server_that_says_nothing_costs_its_deadline_and_no_processor() {
    let origin = tarpit();
    let (url, setup) = allowing(&origin, "limits.outbound.first_byte = \"400ms\"\nlimits.cpu = \"200ms\"");
    let daemon = setup.start();
    let start = Instant::now();

    let said = ask(&daemon, &[&format!("GET {url}/"), &format!("GET {url}/")]);

    assert!(said.iter().all(|said| said.starts_with("took too long: ")), "{said:?}");
    assert!(start.elapsed() >= Duration::from_millis(800));
}

/// A server that sends a byte whenever the last one was taken. Only the client's patience paces it.
fn dripping() -> Origin {
    Origin::of("127.0.0.1", |_, stream| {
        let _told = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while stream.write_all(b"x").and_then(|()| stream.flush()).is_ok() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    })
}

#[test]
fn a_server_that_drips_is_cut_off_at_the_end_of_the_whole_time() {
    let origin = dripping();
    let (url, setup) = allowing(&origin, "limits.outbound.time = \"3s\"");
    let daemon = setup.start();

    let said = ask(&daemon, &[&format!("GET {url}/")]);

    assert!(said[0].starts_with("200 and then took too long: "), "{said:?}");
}

#[test]
fn a_call_with_a_time_of_its_own_is_ended_by_it_before_the_head_and_behind_it() {
    let (silent, slow) = (tarpit(), dripping());
    let (silent, slow) =
        (format!("http://127.0.0.1:{}", silent.port()), format!("http://127.0.0.1:{}", slow.port()));
    let daemon =
        asker(&format!("allow = [\"{silent}\", \"{slow}\"]\nallow_addresses = [\"127.0.0.1\"]")).start();

    let said = ask(&daemon, &[&format!("within {silent}/ 3000"), &format!("within {slow}/ 3000")]);

    assert!(said[0].starts_with("took too long: "), "{said:?}");
    assert_eq!(said[1], "200 and then took too long: more than 3s");
}

#[test]
fn a_call_with_a_time_of_its_own_is_ended_by_it_while_its_answer_keeps_coming() {
    let endless = Origin::of("127.0.0.1", |_, stream| {
        let mut told = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while told.is_ok() {
            told = stream.write_all(&[b'x'; 64 << 10]);
        }
    });
    let url = format!("http://127.0.0.1:{}", endless.port());
    let bounds = "limits.outbound.body = \"1TiB\"\nlimits.outbound.time = \"20s\"\nlimits.cpu = \"60s\"";
    let daemon = asker(&format!("allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.1\"]\n{bounds}")).start();

    let said = ask(&daemon, &[&format!("drain {url}/ 3000")]);

    assert_eq!(said[0], "and then took too long: more than 3s");
}

#[test]
fn the_jobs_own_time_ends_its_calls() {
    let origin = tarpit();
    let url = format!("http://127.0.0.1:{}", origin.port());
    let allow = format!("allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.1\"]");
    let daemon = asker(&format!("{allow}\nargs = [\"itself\", \"{url}/\"]\nlimits.time = \"3s\"")).start();

    let response = daemon.get("/");

    assert_eq!((response.status(), origin.hits()), (504, 1), "{response:?}");
}

#[test]
fn a_client_that_leaves_ends_the_calls_that_are_made_for_it() {
    let (ended, waiting) = std::sync::mpsc::channel();
    let origin = Origin::of("127.0.0.1", move |_, stream| {
        let read = stream.read(&mut [0]);
        let _heard = ended.send(matches!(read, Ok(0) | Err(_)));
    });
    let (url, setup) = allowing(&origin, "");
    let daemon = setup.start();
    let mut client = daemon.client();
    let call = format!("GET {url}/");
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{call}", call.len()));
    // With its head: if the client leaves before, the connection ends and the server is never asked.
    until("the server is asked", || (origin.heads().len() == 1).then_some(()));

    client.reset();

    // Long before the fifteen seconds that the server may take.
    assert!(waiting.recv_timeout(Duration::from_secs(10)).unwrap());
}

#[test]
fn a_server_that_breaks_off_or_speaks_no_http_fails_the_call_alone() {
    let origins = [
        Origin::says("127.0.0.1", ""),
        Origin::says("127.0.0.1", "SSH-2.0-nonsense\r\n\r\n"),
        Origin::says("127.0.0.1", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        Origin::says("127.0.0.1", &format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000))),
    ];
    let urls = origins.each_ref().map(|origin| format!("http://127.0.0.1:{}", origin.port()));
    let daemon = asker(&format!("allow = {urls:?}\nallow_addresses = [\"127.0.0.1\"]")).start();

    let said = ask(&daemon, &urls.each_ref().map(|url| format!("GET {url}/")));

    assert!(said[0].starts_with("broke off: "), "{said:?}");
    assert!(said[1].starts_with("broke off: "), "{said:?}");
    assert!(said[2].starts_with("200 and then broke off: "), "{said:?}");
    assert!(said[3].starts_with("beyond limits.outbound: "), "{said:?}");
}

#[test]
fn fields_about_the_connection_and_the_trail_are_the_daemons() {
    let origin = Origin::text("127.0.0.1", "hello");
    let (url, setup) = allowing(&origin, "");
    let daemon = setup.start();

    let said = ask(
        &daemon,
        &[
            &format!("GET {url}/ header CDN-Loop none"),
            &format!("GET {url}/ header Host evil.test"),
            &format!("GET {url}/ header Transfer-Encoding chunked"),
            &format!("GET {url}/ header X-Mine yes"),
            &format!("CONNECT {url}/"),
        ],
    );

    assert!(said[..3].iter().all(|said| said.starts_with("cannot be sent: ")), "{said:?}");
    assert_eq!(said[3], "200 hello");
    assert!(said[4].starts_with("cannot be sent: "), "{said:?}");
    let heads = origin.heads();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].contains("x-mine: yes\r\n") && heads[0].contains("cdn-loop: portcullis-"), "{heads:?}");
}

#[test]
fn a_handler_that_asks_its_own_daemon_for_itself_comes_to_an_end() {
    // The port is known only after the daemon listens.
    let setup = asker("");
    let url = format!("http://127.0.0.1:{}", free_port());
    let module = std::fs::read(setup.path("one.wasm")).unwrap();
    let daemon = asker(&format!(
        "allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.1\"]\nargs = [\"itself\", \"{url}/\"]"
    ))
    .file("one.wasm", &module)
    .host(url.replace("http", "tcp"))
    .start();

    let response = daemon.client().get("/");

    // Each of five jobs passes on the result of the next one; the last one was refused.
    assert_eq!(response.text().matches("200 ").count(), 4, "{response:?}");
    assert!(response.text().contains("508 "), "{response:?}");
}

#[test]
fn a_core_module_cannot_ask_and_a_components_sockets_stay_shut() {
    let module = Program::text().say("hello").wasm();
    let refused = Setup::one("allow = [\"https://api.example.org\"]", &module).fail();
    assert!(
        refused.stderr.contains("allow: a wasip1 module cannot call other servers"),
        "{}",
        refused.stderr
    );

    let sockets = std::fs::read(guests().join(format!("{SOCKETS}-wasip2.wasm"))).unwrap();
    let origin = Origin::text("127.0.0.1", "never");
    let address = format!("127.0.0.1:{}", origin.port());
    let daemon = Setup::one(
        &format!("allow = [\"http://{address}\"]\nallow_addresses = [\"127.0.0.1\"]\nargs = [\"{address}\"]"),
        &sockets,
    )
    .start();

    let response = daemon.client().get("/");

    assert_eq!(response.text(), "connect failed\nlisten failed\nlookup failed\nudp failed\n");
    assert_eq!(origin.hits(), 0);
}
