//! Forty ways to name a server; only the granted ones reach it.

use std::net::TcpListener;

use super::{ask, asker};
use crate::harness::Origin;

/// The servers of the test: their addresses, their grants and the names to reach them.
struct Servers {
    /// Allowed, and its address is granted.
    granted: Origin,
    /// Not allowed.
    neighbour: Origin,
    /// Allowed by name, but its address is not granted.
    elsewhere: Origin,
    /// Allowed and granted at ::1, on a host with IPv6.
    six: Option<Origin>,
    /// Redirects clients to the neighbour.
    redirecting: Origin,
}

fn servers() -> Servers {
    let neighbour = Origin::text("127.0.0.1", "never");
    let location = format!("http://127.0.0.1:{}/", neighbour.port());
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    Servers {
        granted: Origin::text("127.0.0.1", "hello"),
        elsewhere: Origin::text("127.0.0.2", "never"),
        six: TcpListener::bind("[::1]:0").is_ok().then(|| Origin::text("::1", "six")),
        redirecting: Origin::says("127.0.0.1", &redirect),
        neighbour,
    }
}

#[test]
fn of_all_spellings_only_those_that_are_granted_reach_a_server() {
    let servers = servers();
    let Servers { granted, neighbour, elsewhere, six, redirecting } = &servers;
    let (g, n, e, r) = (granted.port(), neighbour.port(), elsewhere.port(), redirecting.port());
    let s = six.as_ref().map_or(1, Origin::port);
    // For 127.0.0.2 the origin is allowed but not the address: a name can stand for any address.
    let daemon = asker(&format!(
        "allow = [\"http://127.0.0.1:{g}\", \"http://localhost:{g}\", \"http://[::1]:{s}\", \"http://127.0.0.1:{r}\",
                  \"http://*.localhost:{g}\"]
         allow_addresses = [\"127.0.0.1\", \"::1\"]
         limits.outbound.calls = 100"
    ))
    .start();

    let reached = [
        (format!("GET http://127.0.0.1:{g}/"), "200 hello"),
        (format!("GET HTTP://127.0.0.1:{g}/"), "200 hello"),
        (format!("GET http://localhost:{g}/a"), "200 hello"),
        (format!("GET http://LOCALHOST:{g}/a#b"), "200 hello"),
        (format!("POST http://127.0.0.1:{g} body"), "200 hello"),
        (format!("GET http://127.0.0.1:{r}/"), "302 "),
    ];
    let refused = [
        // Other ports, schemes and hosts.
        format!("http://127.0.0.1:{n}/"),
        format!("http://localhost:{n}/"),
        format!("https://127.0.0.1:{g}/"),
        format!("https://localhost:{g}/"),
        "http://127.0.0.1/".to_owned(),
        "http://127.0.0.1:0/".to_owned(),
        "http://127.0.0.1:99999/".to_owned(),
        format!("http://127.0.0.1:0{g}/"),
        format!("http://127.0.0.1:+{g}/"),
        format!("http://127.0.0.2:{e}/"),
        format!("http://127.0.0.2:{g}/"),
        // Other spellings of the same address, and of the neighbour's.
        format!("http://2130706433:{g}/"),
        format!("http://0x7f000001:{g}/"),
        format!("http://0x7f.0.0.1:{g}/"),
        format!("http://0177.0.0.1:{g}/"),
        format!("http://017700000001:{g}/"),
        format!("http://127.1:{g}/"),
        format!("http://127.0.1:{g}/"),
        format!("http://127.0.0.1.:{g}/"),
        format!("http://0.0.0.0:{g}/"),
        format!("http://0:{g}/"),
        format!("http://[::]:{g}/"),
        format!("http://[::ffff:127.0.0.1]:{g}/"),
        format!("http://[::ffff:7f00:1]:{g}/"),
        format!("http://[::127.0.0.1]:{g}/"),
        format!("http://[64:ff9b::127.0.0.1]:{g}/"),
        format!("http://[2002:7f00:1::]:{g}/"),
        format!("http://[::1%25lo]:{s}/"),
        format!("http://localhost.:{g}/"),
        format!("http://localhost.localdomain:{g}/"),
        format!("http://%6c%6f%63%61%6c%68%6f%73%74:{g}/"),
        // User information.
        format!("http://user@127.0.0.1:{g}/"),
        format!("http://user:secret@127.0.0.1:{g}/"),
        format!("http://127.0.0.1:{g}@127.0.0.1:{n}/"),
        format!("http://127.0.0.1:{n}@127.0.0.1:{g}/"),
        format!("http://@127.0.0.1:{g}/"),
        format!("http://127.0.0.1:{g}\\@127.0.0.1:{n}/"),
        // Targets that an attacker would try.
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/meta-data/".to_owned(),
        "http://100.100.100.200/latest/meta-data/".to_owned(),
        "http://metadata.google.internal/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "http://192.168.0.1/".to_owned(),
        "http://[fe80::1]/".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "unix:///run/portcullis/admin.sock".to_owned(),
        "http:///".to_owned(),
        "http://".to_owned(),
    ];
    let calls: Vec<String> = reached.iter().map(|(call, _)| call.clone()).collect();
    let calls = calls.into_iter().chain(refused.iter().map(|url| format!("GET {url}")));
    let calls: Vec<String> = calls.collect();
    let said = ask(&daemon, &calls);

    assert_eq!(said.len(), calls.len(), "{said:?}");
    assert!(refused.len() >= 40);
    for ((call, wanted), said) in reached.iter().zip(&said) {
        assert_eq!(said, wanted, "{call}");
    }
    for (url, said) in refused.iter().zip(&said[reached.len()..]) {
        assert!(said.starts_with("denied: ") || said.starts_with("cannot be sent: "), "{url}: {said}");
    }
    assert_eq!((granted.hits(), redirecting.hits()), (5, 1));
    assert_eq!((neighbour.hits(), elsewhere.hits()), (0, 0));
    if six.is_some() {
        assert_eq!(
            ask(&daemon, &[&format!("GET http://[::1]:{s}/"), &format!("GET http://[0:0::1]:{s}/")]),
            ["200 six"; 2]
        );
    }
}

#[test]
fn an_allowed_name_at_an_address_without_a_grant_is_denied_with_the_line_to_add() {
    let origin = Origin::text("127.0.0.1", "never");
    let url = format!("http://localhost:{}", origin.port());
    let daemon = asker(&format!("allow = [\"{url}\"]")).start();

    let said = ask(&daemon, &[&format!("GET {url}/")]);

    assert_eq!(said, ["denied: destination IP prohibited: the daemon's log names the line to add"]);
    assert_eq!(origin.hits(), 0);
    let line = daemon.log.line("handler.one.allow_addresses: add \"");
    assert!(line.contains("127.0.0.1/32") || line.contains("::1/128"), "{line}");
    assert!(line.contains("loopback"), "{line}");
}

#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let (origin, proxy) = (Origin::text("127.0.0.1", "direct"), Origin::text("127.0.0.1", "proxied"));
    let url = format!("http://127.0.0.1:{}", origin.port());
    let through = format!("http://127.0.0.1:{}", proxy.port());
    let daemon = asker(&format!("allow = [\"{url}\"]\nallow_addresses = [\"127.0.0.1\"]"))
        .env("http_proxy", &through)
        .env("HTTP_PROXY", &through)
        .env("ALL_PROXY", &through)
        .start();

    let said = ask(&daemon, &[&format!("GET {url}/")]);

    assert_eq!((said, proxy.hits()), (vec!["200 direct".to_owned()], 0));
}

#[test]
fn a_flood_of_denials_is_a_few_lines_of_the_log() {
    let mut daemon = asker("limits.outbound.calls = 1000").start();
    let calls: Vec<String> = (1..=300).map(|port| format!("GET http://127.0.0.1:{port}/")).collect();

    let said = ask(&daemon, &calls);

    assert!(said.iter().all(|said| said.starts_with("denied: ")), "{said:?}");
    // Lines are written behind the response: the log is whole once the daemon has ended.
    let log = daemon.terminate().stderr;
    let lines = log.matches("handler.one.allow: add").count();
    // Ten lines at once, then one a second, however slow the machine is.
    assert!((10..=60).contains(&lines), "{lines} lines");
}
