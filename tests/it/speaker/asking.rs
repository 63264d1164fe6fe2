//! Outbound requests over wasi:http: outgoing-handler of 0.2, client of 0.3.

use std::time::{Duration, Instant};

use super::{BOTH, Guest};
use crate::harness::{Daemon, Origin, Setup};

/// Serves a guest that may call these origins.
fn asking(guest: Guest, allow: &[String], settings: &str) -> Setup {
    guest.setup(&format!("allow = {allow:?}\nallow_addresses = [\"127.0.0.1\"]\n{settings}"))
}

fn url(origin: &Origin) -> String {
    format!("http://127.0.0.1:{}", origin.port())
}

/// Makes the guest send requests, one URL a line, and returns the outcome of each.
fn ask(daemon: &Daemon, urls: &[impl AsRef<str>]) -> Vec<String> {
    let lines: Vec<&str> = urls.iter().map(AsRef::as_ref).collect();
    let response = daemon.client().submit("POST", "/ask", "", lines.join("\n").as_bytes());
    assert_eq!(response.status(), 200, "{response:?}");
    response.text().lines().map(str::to_owned).collect()
}

#[test]
fn only_what_is_granted_is_reached() {
    for guest in BOTH {
        let [granted, neighbour, elsewhere] =
            ["127.0.0.1", "127.0.0.1", "127.0.0.2"].map(|address| Origin::text(address, "hello"));
        let (g, n, e) = (granted.port(), neighbour.port(), elsewhere.port());
        // For 127.0.0.2 the origin is allowed, but not the address.
        let allow = [url(&granted), format!("http://localhost:{g}"), format!("http://*.localhost:{e}")];
        let daemon = asking(guest, &allow, "limits.outbound.calls = 100").start();
        let reached = [format!("http://127.0.0.1:{g}/a"), format!("http://localhost:{g}/b")];
        let refused = [
            format!("http://127.0.0.1:{n}/"),
            format!("https://127.0.0.1:{g}/"),
            format!("http://127.0.0.2:{e}/"),
            format!("http://2130706433:{g}/"),
            format!("http://0x7f.0.0.1:{g}/"),
            format!("http://127.1:{g}/"),
            format!("http://[::ffff:127.0.0.1]:{g}/"),
            format!("http://user@127.0.0.1:{g}/"),
            format!("http://127.0.0.1:{g}@127.0.0.1:{n}/"),
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "ftp://127.0.0.1/".to_owned(),
            "http:///".to_owned(),
        ];

        let said = ask(&daemon, &[&reached[..], &refused[..]].concat());

        assert_eq!(said[..2], ["200 hello"; 2], "{guest:?}: {said:?}");
        for (url, said) in refused.iter().zip(&said[2..]) {
            // The last one is wasmtime's error for a scheme other than HTTP's.
            let denied = ["HttpRequestDenied", "HttpRequestUriInvalid", "HttpProtocolError"];
            assert!(
                denied.iter().any(|code| said == &format!("ErrorCode::{code}")),
                "{guest:?} {url}: {said}"
            );
        }
        assert_eq!([granted.hits(), neighbour.hits(), elsewhere.hits()], [2, 0, 0]);
        daemon.log.line(&format!("handler.p.allow: add \"http://127.0.0.1:{n}\""));
    }
}

#[test]
fn a_handler_that_is_allowed_nothing_is_denied() {
    for guest in BOTH {
        let origin = Origin::text("127.0.0.1", "never");
        let daemon = guest.serving("");

        assert_eq!(ask(&daemon, &[url(&origin)]), ["ErrorCode::HttpRequestDenied"]);
        assert_eq!(origin.hits(), 0);
    }
}

#[test]
fn number_size_and_time_of_calls_are_bounded() {
    for guest in BOTH {
        let fits = Origin::text("127.0.0.1", &"x".repeat(1000));
        let exceeds = Origin::text("127.0.0.1", &"x".repeat(1001));
        let silent = Origin::of("127.0.0.1", |_, stream| drop(stream.read(&mut [0])));
        let allow = [&fits, &exceeds, &silent].map(url);
        let limits = "limits.outbound = { calls = 4, body = 1000, first_byte = \"3s\" }";
        let daemon = asking(guest, &allow, limits).start();
        let start = Instant::now();

        let said = ask(&daemon, &[url(&fits), url(&exceeds), url(&silent), url(&fits), url(&fits)]);

        assert_eq!(said[0], format!("200 {}", "x".repeat(1000)));
        assert_eq!(said[1], "ErrorCode::HttpResponseBodySize(Some(1000))");
        assert_eq!(said[2], "ErrorCode::ConnectionReadTimeout");
        assert!(start.elapsed() >= Duration::from_secs(3));
        assert_eq!(said[3], said[0]);
        assert_eq!(said[4], "ErrorCode::ConnectionLimitReached");
        assert_eq!(fits.hits(), 2);
        // The next request has limits of its own.
        assert_eq!(ask(&daemon, &[url(&fits)])[0], said[0]);
    }
}

#[test]
fn a_response_that_stalls_or_breaks_off_is_told_behind_its_head() {
    for guest in BOTH {
        let half = Origin::says("127.0.0.1", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        let stalls = Origin::of("127.0.0.1", |_, stream| {
            let _told = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
            let _left = stream.read(&mut [0]);
        });
        let limits = "limits.outbound.time = \"3s\"";
        let daemon = asking(guest, &[url(&half), url(&stalls)], limits).start();

        let said = ask(&daemon, &[url(&half), url(&stalls)]);

        assert!(
            said[0].starts_with("200 and then ") && said[0].contains("HttpResponseIncomplete"),
            "{said:?}"
        );
        assert!(said[1].starts_with("200 and then ") && said[1].contains("HttpResponseTimeout"), "{said:?}");
    }
}

#[test]
fn the_time_of_the_job_ends_its_calls() {
    for guest in BOTH {
        let origin = Origin::of("127.0.0.1", |_, stream| drop(stream.read(&mut [0])));
        let daemon = asking(guest, &[url(&origin)], "limits.time = \"3s\"").start();

        let response = daemon.client().submit("POST", "/ask", "", url(&origin).as_bytes());

        assert_eq!((response.status(), origin.hits()), (504, 1), "{response:?}");
    }
}

#[test]
fn an_instance_that_has_asked_is_used_again_with_an_account_of_its_own() {
    for guest in BOTH {
        let origin = Origin::text("127.0.0.1", "hello");
        let daemon = asking(guest, &[url(&origin)], "reuse = 100\nlimits.outbound.calls = 2").start();

        for _ in 0..3 {
            assert_eq!(ask(&daemon, &[url(&origin), url(&origin)]), ["200 hello"; 2]);
        }

        assert_eq!(daemon.get("/count").text(), "4\n", "{guest:?}: one instance has answered all of them");
    }
}
