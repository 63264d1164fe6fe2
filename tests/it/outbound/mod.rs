//! Outbound requests of handlers: allowed servers are reached, and no other host gets a packet.
//!
//! Floors, lowest first: the guests in this file; `bounds`, `kept`, `matrix`, `names`, `secure`, which do not use
//! one another.

mod bounds;
mod kept;
mod matrix;
mod names;
mod secure;

use std::fs;

use crate::harness::{Daemon, Origin, Setup, guests};

/// The program that makes the requests. It is a component, since only a component can.
const GUEST: &str = "fetch";

/// The program that tries sockets.
const SOCKETS: &str = "sockets";

/// Starts a daemon with one component that makes the requests it is told to, with `settings`.
fn asker(settings: &str) -> Setup {
    let module = fs::read(guests().join(format!("{GUEST}-wasip2.wasm"))).unwrap();
    Setup::one(settings, &module)
}

/// Makes the component send requests, one for each line, and returns the outcome of each.
fn ask(daemon: &Daemon, calls: &[impl AsRef<str>]) -> Vec<String> {
    let lines: Vec<&str> = calls.iter().map(AsRef::as_ref).collect();
    let response = daemon.client().submit("POST", "/", "", lines.join("\n").as_bytes());
    assert_eq!(response.status(), 200, "{response:?}");
    response.text().lines().map(str::to_owned).collect()
}

#[test]
fn a_component_reaches_what_it_is_allowed_and_nothing_else() {
    let (granted, other) = (Origin::text("127.0.0.1", "hello"), Origin::text("127.0.0.1", "never"));
    let url = format!("http://127.0.0.1:{}", granted.port());
    let daemon = asker(&format!("allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.1\"]")).start();

    let said =
        ask(&daemon, &[&format!("GET {url}/a?b=c"), &format!("GET http://127.0.0.1:{}/", other.port())]);

    assert_eq!(said[0], "200 hello");
    assert!(said[1].starts_with("denied: "), "{said:?}");
    assert_eq!((granted.hits(), other.hits()), (1, 0));
    let head = &granted.heads()[0];
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: 127.0.0.1:{}\r\n", granted.port())), "{head}");
    let advice = format!("handler.one.allow: add \"http://127.0.0.1:{}\"", other.port());
    daemon.log.line(&advice);
}

#[test]
fn a_component_that_is_allowed_nothing_runs_and_is_denied() {
    let origin = Origin::text("127.0.0.1", "never");
    let daemon = asker("").start();

    let said = ask(&daemon, &[&format!("GET http://127.0.0.1:{}/", origin.port())]);

    assert!(said[0].starts_with("denied: "), "{said:?}");
    assert_eq!(origin.hits(), 0);
}

#[test]
fn what_is_granted_and_how_calls_ended_can_be_seen() {
    let origin = Origin::text("127.0.0.1", "hello");
    let url = format!("http://127.0.0.1:{}", origin.port());
    let daemon = asker(&format!("allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.0/8\"]"))
        .prepend("admin = \"unix://admin.sock\"\n")
        .start();
    ask(&daemon, &[format!("GET {url}/"), format!("GET {url}/"), "GET http://127.0.0.1:1/".to_owned()]);

    let name = "portcullis_outbound_calls_total";
    daemon.counted(name, &["handler=\"one\"", "outcome=\"answered\""], 2.0);
    daemon.counted(name, &["handler=\"one\"", "outcome=\"denied\""], 1.0);
    let verb = |args: &[&str]| {
        let ended = daemon.verb(args);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        String::from_utf8(ended.stdout).unwrap()
    };

    let (explained, listed) = (verb(&["explain", "GET", "/"]), verb(&["handlers"]));

    assert!(explained.contains(&format!("allow           {url}\n")), "{explained}");
    assert!(explained.contains("allow_addresses 127.0.0.0/8\n"), "{explained}");
    assert!(explained.contains("outbound        32 calls, 6 at once, "), "{explained}");
    assert!(listed.contains("ALLOW") && listed.contains(&url), "{listed}");
}
