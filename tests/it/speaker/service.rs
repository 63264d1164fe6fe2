//! Behaviour specific to wasi:http 0.3.

use super::SERVICE;
use super::both::failed;

#[test]
fn it_is_off_until_it_is_switched_on() {
    let ended = SERVICE.off("").fail();

    assert_eq!(ended.code, Some(1));
    let line = ended.stderr.lines().find(|line| line.contains("wasi:http/handler@0.3")).unwrap();
    assert!(line.contains("handler \"p\"") && line.contains("`wasi_http_03 = true`"), "{line}");
}

#[test]
fn a_body_may_be_passed_on_by_a_handler_that_is_done() {
    let daemon = SERVICE.serving("");
    let body = vec![b'x'; 300_000];

    let response = daemon.client().submit("POST", "/pass", "", &body);

    assert_eq!(response.status(), 200);
    assert!(response.text().as_bytes() == body);
}

#[test]
fn streams_that_a_handler_hoards_are_bounded() {
    let daemon = SERVICE.serving("limits = { memory = \"512MiB\", handles = 100 }");

    let response = daemon.get("/streams");

    assert_eq!(response.status(), 502, "{}", response.text());
    assert!(!response.text().contains("limits.memory"), "{}", response.text());
}

#[test]
fn a_body_whose_writer_is_kept_and_a_wait_for_oneself_last_until_the_time_is_up() {
    let daemon = SERVICE.serving("limits.time = \"3s\"");

    failed(&daemon, "/stuck", 504, "limits.time");
    let mut client = daemon.client();
    client.send("GET /leave HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let all = client.rest();

    assert!(!all.ends_with(b"0\r\n\r\n"), "{}", all.escape_ascii());
    daemon.log.lines(2, "limits.time");
}
