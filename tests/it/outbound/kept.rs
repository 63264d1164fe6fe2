//! Kept connections to other servers, which wait for the next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{ask, asker};
use crate::harness::origin::{read_body, read_head};
use crate::harness::{Daemon, Origin, until};

/// Starts a daemon whose component may call this server.
fn allowing(origin: &Origin) -> (String, Daemon) {
    let url = format!("http://127.0.0.1:{}", origin.port());
    let daemon = asker(&format!("allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.1\"]")).start();
    (url, daemon)
}

/// A server that answers `most` requests of a connection with their number, then reads one more and closes.
fn patient(most: usize) -> Origin {
    let answered = Arc::new(AtomicUsize::new(0));
    Origin::of("127.0.0.1", move |head, stream| {
        let mut head = head.to_owned();
        for turn in 0..=most {
            if turn == most || read_body(&head, stream).is_none() {
                return;
            }
            let number = answered.fetch_add(1, Ordering::SeqCst) + 1;
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{number}", number.to_string().len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
            let Some(next) = read_head(stream) else { return };
            head = next;
        }
    })
}

#[test]
fn calls_to_one_server_share_a_connection_over_several_jobs() {
    let origin = patient(100);
    let (url, daemon) = allowing(&origin);
    let call = format!("GET {url}/");

    let first = ask(&daemon, &[&call; 3]);
    let second = ask(&daemon, &[&call; 2]);

    assert_eq!(first, ["200 1", "200 2", "200 3"]);
    assert_eq!(second, ["200 4", "200 5"]);
    assert_eq!(origin.hits(), 1);
}

#[test]
fn a_call_over_a_connection_that_its_server_leaves_is_made_once_more() {
    // The server reads the second request and closes without a response.
    let origin = patient(1);
    let (url, daemon) = allowing(&origin);

    let said = ask(&daemon, &[&format!("GET {url}/"); 3]);

    assert_eq!(said, ["200 1", "200 2", "200 3"]);
    assert_eq!(origin.hits(), 3);
}

#[test]
fn a_request_with_a_body_goes_over_a_connection_that_waits() {
    let origin = patient(100);
    let (url, daemon) = allowing(&origin);

    let said = ask(
        &daemon,
        &[
            format!("GET {url}/"),
            format!("POST {url}/ body"),
            format!("PUT {url}/ body"),
            format!("GET {url}/"),
        ],
    );

    assert_eq!(said, ["200 1", "200 2", "200 3", "200 4"]);
    assert_eq!(origin.hits(), 1);
}

#[test]
fn a_request_that_cannot_be_sent_twice_is_sent_once() {
    // The server reads the head of the second request and closes without a response.
    let origin = patient(1);
    let (url, daemon) = allowing(&origin);

    let said = ask(
        &daemon,
        &[format!("GET {url}/"), format!("POST {url}/"), format!("GET {url}/"), format!("PUT {url}/ body")],
    );

    assert_eq!(said[0], "200 1");
    assert!(said[1].starts_with("broke off: "), "{said:?}");
    assert_eq!(said[2], "200 2");
    assert!(said[3].starts_with("broke off: "), "{said:?}");
    assert_eq!(origin.hits(), 2);
}

#[test]
fn a_request_of_any_kind_is_made_anew_where_its_connection_was_closed_before() {
    let origin = Origin::of("127.0.0.1", |head, stream| {
        let _body = read_body(head, stream);
        // The response does not announce the close, so the client keeps the connection.
        let _told = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let (url, daemon) = allowing(&origin);

    for turn in 1..=5 {
        assert_eq!(ask(&daemon, &[format!("POST {url}/ body")]), ["200 ok"], "turn {turn}");
        until("the connection to be closed", || (origin.closed() == turn).then_some(()));
    }

    assert_eq!(origin.hits(), 5);
}

#[test]
fn a_body_that_is_not_read_to_its_end_takes_its_connection_with_it() {
    let origin = Origin::of("127.0.0.1", |_, stream| {
        let _told = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        let _left = stream.read(&mut [0]);
    });
    let (url, daemon) = allowing(&origin);
    let hold = format!("hold {url}/");

    assert_eq!(ask(&daemon, &[&hold]), ["held 1"]);
    assert_eq!(ask(&daemon, &[&hold]), ["held 1"]);

    assert_eq!(origin.hits(), 2);
}

#[test]
fn a_doubtful_answer_fails_the_call_and_is_followed_by_no_other() {
    let doubtful = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ];
    for answer in doubtful {
        let origin = Origin::of("127.0.0.1", move |_, stream| {
            let _told = stream.write_all(answer.as_bytes());
            let _left = stream.read(&mut [0]);
        });
        let (url, daemon) = allowing(&origin);

        let said = ask(&daemon, &[&format!("GET {url}/"); 2]);

        assert!(
            said.iter().all(|said| !said.starts_with(|letter: char| letter.is_ascii_digit())),
            "{said:?}: {answer}"
        );
        assert_eq!(origin.hits(), 2, "{answer}");
    }
}

#[test]
fn interim_answers_before_the_one_are_nothing_to_doubt() {
    let origin = Origin::says(
        "127.0.0.1",
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let (url, daemon) = allowing(&origin);

    assert_eq!(ask(&daemon, &[format!("GET {url}/")]), ["200 ok"]);
}

#[test]
fn a_server_that_never_ends_its_interim_answers_is_given_up() {
    let origin = Origin::of("127.0.0.1", |_, stream| {
        let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
        // Until the daemon has closed the connection. Without that, an hour of it would come.
        while stream.write_all(many.as_bytes()).is_ok() {}
    });
    let (url, daemon) = allowing(&origin);

    let said = ask(&daemon, &[format!("GET {url}/")]);

    assert_eq!(said, ["broke off: HTTP protocol error"]);
}
