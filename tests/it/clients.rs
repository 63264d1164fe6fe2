//! Requests in the ways that different kinds of clients send them.

use std::io::Write as _;

use crate::harness::frames::{Frames, flag, head};
use crate::harness::{Client, Daemon, Program, Setup};

/// `/` shows the environment of its job, `/poured` answers with a body of unknown length.
fn setup(settings: &str) -> Setup {
    Setup::new(settings).handler("env", "", &Program::text().environment().wasm()).handler(
        "poured",
        "",
        &Program::text().pour(4).wasm(),
    )
}

fn variable(text: &str, name: &str) -> Option<String> {
    text.split('\0').find_map(|variable| variable.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

#[test]
fn an_empty_host_is_no_host() {
    let daemon = setup("").start();
    let mut client = daemon.client();

    client.send("GET /env HTTP/1.1\r\nHost:\r\n\r\n");

    let response = client.response();
    assert_eq!(response.status(), 200, "{}", response.text());
    assert_eq!(variable(response.text(), "SERVER_NAME").as_deref(), Some("127.0.0.1"));
}

#[test]
fn the_path_of_a_unix_socket_is_a_host_there_and_nowhere_else() {
    let setup = setup("");
    let path = setup.path("p.sock");
    let daemon = setup.host("tcp://127.0.0.1:0").host(format!("unix://{}", path.display())).start();

    for host in ["/var/run/docker.sock", "%2Fvar%2Frun%2Fdocker.sock", ""] {
        let request = format!("GET /env HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut local = Client::unix(&path);
        local.send(&request);
        let response = local.response();
        assert_eq!(response.status(), 200, "{host:?}: {}", response.text());
        assert_eq!(variable(response.text(), "SERVER_NAME").as_deref(), Some("localhost"), "{host:?}");

        let mut remote = daemon.client();
        remote.send(&request);
        assert_eq!(remote.response().status(), if host.is_empty() { 200 } else { 400 }, "{host:?}");
    }
    let mut local = Client::unix(&path);
    local.send("GET /env HTTP/1.1\r\nHost: /a b<script>\r\n\r\n");
    assert_eq!(local.response().status(), 400);
}

#[test]
fn a_client_of_http_1_0_is_not_promised_a_connection_whose_end_is_that_of_the_body() {
    let daemon = setup("").start();
    let mut client = daemon.client();

    client.send("GET /poured HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");

    let answer = String::from_utf8(client.rest()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_ascii_lowercase().contains("connection: close"), "{head}");
    assert_eq!(body.len(), 4 << 16);
}

#[test]
fn a_client_of_http_1_0_that_asks_for_it_keeps_its_connection_behind_an_answer_of_known_length() {
    let hello = Program::new().say("Content-Type: text/plain\nContent-Length: 6\n\nhello\n");
    let daemon = Setup::one("", &hello.wasm()).start();
    let mut client = daemon.client();

    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.response();
        assert_eq!((answer.status(), answer.text()), (200, "hello\n"));
        assert_eq!(answer.field("connection"), Some("keep-alive"));
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(client.rest().ends_with(b"\r\n\r\nhello\n"), "closed behind the answer, as is usual in HTTP/1.0");
}

#[test]
fn the_crumbs_of_a_cookie_are_one_field_and_one_value() {
    let daemon = setup("").start();
    let mut client = Frames::begin(daemon.client(), &[]);
    let crumbs: Vec<String> = (0..110).map(|number| format!("c{number}=v")).collect();
    let fields: Vec<(&str, &str)> = crumbs.iter().map(|crumb| ("cookie", crumb.as_str())).collect();

    client.send(head(1, "GET", "/env", &fields, flag::END_STREAM | flag::END_HEADERS));

    let answer = client.answer(1);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{text}");
    assert_eq!(variable(&text, "HTTP_COOKIE"), Some(crumbs.join("; ")));
}

#[test]
fn a_large_upload_that_is_refused_at_once_still_shows_its_client_the_answer() {
    const SIZE: usize = 60 << 20;
    let daemon: Daemon = setup("").start();
    let mut client = daemon.client();
    client.send(format!("POST /nowhere HTTP/1.1\r\nHost: test\r\nContent-Length: {SIZE}\r\n\r\n"));
    let piece = vec![b'x'; 1 << 16];

    // Like a client that reads the response only after it has sent everything.
    let mut socket = client.socket();
    for sent in 0..SIZE / piece.len() {
        socket.write_all(&piece).unwrap_or_else(|error| panic!("after {sent} pieces: {error}"));
    }

    assert_eq!(client.response().status(), 404);
}

#[test]
fn quotes_in_a_query_are_taken_as_browsers_write_them() {
    let daemon = setup("").start();
    let request =
        "GET /env?q=\"a b\"&r=<c> HTTP/1.1\r\nHost: test\r\nX: \"<\"\r\n\r\n".replace("a b", "a%20b");
    let expect = |client: &mut Client| {
        let response = client.response();
        let query = variable(response.text(), "QUERY_STRING");
        assert_eq!((response.status(), query.as_deref()), (200, Some("q=%22a%20b%22&r=%3Cc%3E")));
        assert_eq!(variable(response.text(), "HTTP_X").as_deref(), Some("\"<\""));
    };
    // Whole, in two pieces split at any position, one after the other, and many at once.
    let mut client = daemon.client();
    for cut in 0..request.len() {
        client.send(&request[..cut]);
        client.send(&request[cut..]);
        expect(&mut client);
    }
    client.send(request.repeat(200));
    (0..200).for_each(|_| expect(&mut client));
    // A path must not contain any.
    client.send("GET /<a> HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().status(), 400);
}

#[test]
fn a_page_of_another_site_reads_a_refusal_of_what_is_no_request_where_all_sites_may() {
    for (origins, granted, vary) in [("*", Some("*"), None), ("https://a.example", None, Some("Origin"))] {
        let cors = format!("[cors]\norigins = [\"{origins}\"]\n[http]\ntarget_size = \"1KiB\"\n");
        let daemon = setup(&cors).start();
        let mut client = daemon.client();

        client.send(format!(
            "GET /{} HTTP/1.1\r\nHost: test\r\nOrigin: https://a.example\r\n\r\n",
            "x".repeat(2000)
        ));

        let refused = client.response();
        assert_eq!(refused.status(), 414);
        assert_eq!(refused.field("access-control-allow-origin"), granted);
        assert_eq!(refused.field("vary"), vary);
    }
}
