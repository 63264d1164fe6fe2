//! Responses that are truncated, forged, or meant for another client.

use crate::harness::{Client, Daemon, Program, Setup, guests};

/// A program that writes a piece, reads, and then does what is added.
fn begun() -> Program {
    Program::text().say("a piece\n").read_once()
}

/// Sends an HTTP/1.0 request, reads the first piece and lets the job go on.
fn half(mut client: Client) -> Client {
    client.send("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n");
    let head = client.head();
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(client.up_to(b"\n"), b"a piece\n");
    client.send("go");
    client
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole_to_a_client_of_http_1_0() {
    let ends = [
        ("", begun().trap(), false),
        ("", begun().exit(3), false),
        ("limits.time = \"2s\"", begun().sleep_for_ever(), false),
        ("limits.output = \"1MiB\"", begun().pour(32), false),
        ("", begun(), true),
        ("", begun().pour(32), true),
    ];
    for (number, (settings, program, whole)) in ends.into_iter().enumerate() {
        let daemon = Setup::one(settings, &program.wasm()).start();

        let mut client = half(daemon.client());

        assert_eq!(client.ends_properly(), whole, "{number}: {}", daemon.log.text());
    }
}

#[test]
fn a_daemon_that_goes_does_not_make_an_answer_look_whole() {
    let mut daemon = Setup::one("", &begun().sleep_for_ever().wasm()).prepend("grace = \"100ms\"\n").start();
    let mut client = half(daemon.client());

    daemon.terminate();

    assert!(!client.ends_properly(), "{}", daemon.log.text());
}

#[test]
fn a_client_of_http_1_1_that_closes_is_told_the_end_by_the_last_chunk() {
    let daemon = Setup::one("", &begun().trap().wasm()).start();
    let mut client = daemon.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 2\r\n\r\n");
    let head = client.head();
    client.chunk();
    client.send("go");

    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert_eq!(client.rest(), b"");
}

/// A Unix socket has no reset, so HTTP/1.0 cannot signal a truncated response there, while HTTP/1.1 can. The
/// page about HTTP says so.
#[test]
fn an_answer_that_breaks_off_on_a_unix_socket_is_told_by_http_1_1_alone() {
    let setup = Setup::one("", &begun().trap().wasm());
    let path = setup.path("p.sock");
    let daemon = setup.host(format!("unix://{}", path.display())).start();
    let mut old = half(Client::unix(&path));
    let mut new = Client::unix(&path);
    new.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n");
    new.head();
    assert_eq!(new.chunk(), b"a piece\n");
    new.send("go");

    assert!(old.ends_properly());
    assert_eq!(new.rest(), b"", "no last chunk");
    daemon.log.lines(2, "(trapped)");
}

#[test]
fn what_the_daemon_says_of_an_answer_no_handler_can_say() {
    let forged = Program::new()
        .say("Content-Type: text/plain\nX-Portcullis-Version: forged\nX-Portcullis-Reason: forged\nX-Mine: 1\n\nbody\n")
        .wasm();
    let serving = |settings: &str| -> Daemon { Setup::one("", &forged).prepend(settings).start() };
    let all = |daemon: &Daemon, name: &str| -> Vec<String> {
        let head = daemon.get("/").head;
        assert!(head.contains("x-mine: 1\r\n"), "{head}");
        head.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
    };

    let (silent, telling) = (serving(""), serving("version_header = true\nreason_header = true\n"));

    assert!(all(&silent, "x-portcullis-").is_empty());
    let said = all(&telling, "x-portcullis-");
    assert!(matches!(&said[..], [one] if one.starts_with("x-portcullis-version: one@")), "{said:?}");
}

#[test]
fn an_answer_that_depends_on_the_origin_says_so_to_every_cache() {
    let varied = Program::new().say("Content-Type: text/plain\nVary: Accept\n\nbody\n").wasm();
    let daemon = Setup::one("", &varied).add("[cors]\norigins = [\"https://a.example\"]\n").start();
    let vary = |method: &str, fields: &str| -> Vec<String> {
        let head = daemon.client().ask(method, "/", fields).head;
        head.lines().filter_map(|line| line.strip_prefix("vary: ")).map(str::to_owned).collect()
    };

    for origin in ["", "Origin: https://a.example\r\n", "Origin: https://b.example\r\n"] {
        assert_eq!(vary("GET", origin), ["Accept", "Origin"], "{origin}");
    }
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n";
    assert_eq!(vary("OPTIONS", preflight), ["Origin"]);
}

#[test]
fn each_of_many_pipelined_requests_gets_the_whole_answer_of_a_component() {
    const REQUESTS: usize = 200;
    let daemon =
        Setup::new("[handler.p]\nmodule = \"p.wasm\"\n[[route]]\npath = \"/{verb}\"\nhandler = \"p\"\n")
            .file("p.wasm", &std::fs::read(guests().join("proxy.wasm")).unwrap())
            .start();
    let mut client = daemon.client();

    client.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n".repeat(REQUESTS));

    for number in 0..REQUESTS {
        let response = client.response();
        assert_eq!((response.status(), response.text()), (200, "hello\n"), "{number}: {}", daemon.log.text());
    }
}
