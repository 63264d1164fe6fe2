//! The version of HTTP over TLS is the one negotiated by ALPN.

use super::site::{self, environment, secure};
use crate::harness::frames::{Frames, get};
use crate::harness::{Client, Daemon};

const COUNTED: &str = "portcullis_refused_total";

fn daemon() -> Daemon {
    let setup = secure("", &environment());
    let admin = setup.path("admin.sock");
    setup.prepend(&format!("admin = \"unix://{}\"\naccess_log = true\n", admin.display())).start()
}

/// Connects and offers these protocols.
fn offering(daemon: &Daemon, protocols: &[&str]) -> Client {
    Client::tls(daemon.port(), site::offering(protocols), "127.0.0.1")
}

#[test]
fn http_2_is_spoken_to_a_client_that_agreed_on_it_alone() {
    let daemon = daemon();
    let mut agreed = Frames::begin(offering(&daemon, &["h2"]), &[]);
    agreed.send(get(1, "/"));
    assert_eq!(agreed.answer(1).status, 200);

    for protocols in [&["http/1.1"][..], &[]] {
        let before = daemon.so_far(COUNTED, &["reason=\"http_version\""]);
        let mut client = Frames::begin(offering(&daemon, protocols), &[]).0;

        let response = client.response();

        assert_eq!(response.status(), 505, "{protocols:?}");
        assert!(response.text().contains("ALPN"), "{}", response.text());
        daemon.counted(COUNTED, &["reason=\"http_version\""], before + 1.0);
    }
    daemon.log.lines(2, "\"PRI * HTTP/2.0\" -> 505 ");
}

#[test]
fn a_client_that_agreed_on_http_2_and_speaks_http_1_is_cut_off() {
    let daemon = daemon();
    let mut client = offering(&daemon, &["h2"]);

    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    let from = client.socket().local_addr().unwrap();
    let _told = client.ends_properly();
    assert!(
        daemon
            .log
            .line("- -> closed: HTTP/1 where HTTP/2 was agreed on (http_version)")
            .ends_with(&format!(" for {from}"))
    );
    daemon.counted(COUNTED, &["reason=\"http_version\""], 1.0);
}

#[test]
fn a_client_that_offers_http_1_0_alone_is_served() {
    let daemon = daemon();
    let mut client = offering(&daemon, &["http/1.0"]);

    client.send("GET / HTTP/1.0\r\n\r\n");

    assert_eq!(client.response().status(), 200);
}
