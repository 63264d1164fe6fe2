//! Statuses without content (RFC 9110 §6.4.1, §15.3.6), whatever body a handler writes.

use crate::harness::frames::{Frames, flag, get, head, kind};
use crate::harness::{Client, Daemon, Program, Setup};

/// The statuses, and the `Content-Length` sent with each.
pub(crate) const BODILESS: [(u16, Option<&str>); 3] = [(204, None), (205, Some("0")), (304, None)];

/// `/204`, `/205` and `/304` answer with that status, a length and a body.
fn daemon() -> Daemon {
    BODILESS
        .into_iter()
        .fold(Setup::new(""), |setup, (status, _)| {
            let said = format!("Status: {status}\nContent-Type: text/plain\nContent-Length: 5\n\nbody\n");
            setup.handler(&status.to_string(), "", &Program::new().say(&said).wasm())
        })
        .handler("200", "", &Program::text().say("hello\n").wasm())
        .start()
}

/// Requests each status on one connection, by its path below `below`, and checks the responses.
pub(crate) fn over_http_1(mut client: Client, below: &str) {
    for (status, length) in BODILESS {
        for method in ["GET", "HEAD"] {
            let response = client.ask(method, &format!("{below}/{status}"), "");

            assert_eq!((response.status(), response.field("content-length")), (status, length), "{method}");
            assert_eq!(response.field("transfer-encoding"), None, "{method} {status}");
            assert!(response.body.is_empty(), "{method} {status}: {response:?}");
        }
    }
    // No part of a forbidden body is left on the connection.
    assert_eq!(client.get(&format!("{below}/200")).status(), 200);
}

/// Requests each status frame by frame: the response must be a head only.
pub(crate) fn over_http_2(client: Client, below: &str) {
    let mut client = Frames::begin(client, &[]);
    let mut stream = 1;
    for (status, _) in BODILESS {
        let path = format!("{below}/{status}");

        client.send(get(stream, &path));
        let answer = client.next();
        client.send(head(stream + 2, "HEAD", &path, &[], flag::END_STREAM));
        let again = client.next();

        assert_eq!(answer.status(), status);
        for answer in [answer, again] {
            assert_eq!((answer.kind, answer.ends()), (kind::HEADERS, true), "{status}: {answer:?}");
        }
        stream += 4;
    }
    client.send(get(stream, &format!("{below}/200")));
    assert_eq!(client.answer(stream).status, 200);
}

#[test]
fn a_program_cannot_give_them_any_over_http_1() {
    over_http_1(daemon().client(), "");
}

#[test]
fn a_program_cannot_give_them_any_over_http_2() {
    over_http_2(daemon().client(), "");
}

#[test]
fn a_program_that_writes_more_than_a_pipe_holds_behind_them_is_not_held_up() {
    for status in [204, 205, 304] {
        let said = format!("Status: {status}\n\n");
        let module = Program::new().say(&said).pour(16).complain("all taken\n").wasm();
        let daemon = Setup::one("limits.time = \"20s\"", &module).start();
        let mut client = daemon.client();

        let response = client.get("/");

        assert_eq!((response.status(), response.body.len()), (status, 0));
        daemon.log.line("one: all taken");
        assert_eq!(client.ask("HEAD", "/", "").status(), status, "the connection is of use");
        assert_eq!(client.get("/").status(), status);
    }
}

#[test]
fn what_is_dropped_behind_them_counts_as_output() {
    let module = Program::new().say("Status: 204\n\n").pour(16).wasm();
    let daemon = Setup::one("limits = { time = \"20s\", output = \"512KiB\" }", &module)
        .prepend("debug = true\n")
        .start();

    let response = daemon.get("/");

    assert_eq!(response.status(), 502);
    assert!(response.text().contains("limits.output"), "{}", response.text());
}
