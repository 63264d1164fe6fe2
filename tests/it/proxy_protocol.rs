//! The PROXY protocol: both versions, health checks, TLS, and clients that may not speak it.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{
    Authority, Client, Daemon, PATIENCE, Program, Setup, attempted, finish, found, portcullis,
};

const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The prefix of version 2.
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

const GET: &str = "GET /env HTTP/1.1\r\nHost: test\r\n\r\n";

/// Every connection needs a header from this proxy. It may take longer than a client of these tests does.
fn setup(proxy: Ipv4Addr) -> Setup {
    waiting(proxy, "30s")
}

/// Every connection needs a header from this proxy, within `first_byte`.
fn waiting(proxy: Ipv4Addr, first_byte: &str) -> Setup {
    let top = format!("trusted_proxies = [\"{proxy}\"]\n{}", "listen = [\"tcp://127.0.0.1:0\"]\n");
    Setup::new("access_log = true\nproxy_protocol = [\"tcp://127.0.0.1:0\"]\n")
        .prepend(&top)
        .handler("env", "", &Program::text().environment().wasm())
        .add(&format!("[http]\nfirst_byte = \"{first_byte}\"\n"))
}

/// Sends a header and a request, and returns the variables that tell both ends.
fn told(daemon: &Daemon, header: &[u8]) -> String {
    let mut client = Client::tcp_from(PROXY, daemon.port());
    client.send([header, GET.as_bytes()].concat());
    let response = client.response();
    let of = |name: &str| {
        let mut values = response
            .text()
            .split_terminator('\0')
            .filter_map(|one| one.strip_prefix(name)?.strip_prefix('='));
        values.next().unwrap_or("-").to_owned()
    };
    [of("REMOTE_ADDR"), of("REMOTE_PORT"), of("SERVER_PORT")].join(" ")
}

fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    [VERSION_2, &[0x20 | command, family], &length, addresses].concat()
}

#[test]
fn the_header_names_the_client_in_both_versions() {
    let daemon = setup(PROXY).start();
    let four = [203, 0, 113, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb];

    for header in [b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n".to_vec(), version_2(1, 0x11, &four)] {
        assert_eq!(told(&daemon, &header), "203.0.113.7 4711 443");
    }
    let six = told(&daemon, b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n");
    assert_eq!(six, "2001:db8::7 4711 443");
    assert!(daemon.log.line("GET /env").ends_with("for 203.0.113.7:4711"), "{}", daemon.log.text());
}

#[test]
fn a_health_check_is_the_proxy_itself() {
    let daemon = setup(PROXY).start();

    for header in [version_2(0, 0, &[]), b"PROXY UNKNOWN\r\n".to_vec()] {
        let told = told(&daemon, &header);
        assert!(told.starts_with("127.0.0.2 "), "{told}");
        assert!(told.ends_with(&format!(" {}", daemon.port())), "{told}");
    }
}

#[test]
fn a_client_that_is_not_named_passes_no_gate_of_addresses_and_its_fields_are_its_own() {
    let gate = "[[route]]\npath = \"/inner\"\nhandler = \"env\"\nbefore = [\"inner\"]\n\
                [gate.inner]\nkind = \"addresses\"\nallow = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n";
    let daemon = setup(PROXY).add(gate).start();
    let ask = |header: &[u8], path: &str| {
        let mut client = Client::tcp_from(PROXY, daemon.port());
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 10.0.0.5\r\n\r\n");
        client.send([header, request.as_bytes()].concat());
        client.response()
    };
    let unnamed = [b"PROXY UNKNOWN\r\n".to_vec(), version_2(1, 0, &[]), version_2(1, 0x31, &[0; 216])];

    for header in unnamed {
        assert_eq!(ask(&header, "/inner").status(), 403);
        let seen = ask(&header, "/env");
        assert!(seen.text().contains("REMOTE_ADDR=127.0.0.2\0"), "{}", seen.text());
    }
    let itself = ask(&version_2(0, 0, &[]), "/env");
    assert!(itself.text().contains("REMOTE_ADDR=127.0.0.2\0"), "{}", itself.text());
    assert_eq!(ask(&version_2(0, 0, &[]), "/inner").status(), 200, "a check of the proxy");
}

#[test]
fn the_parent_of_a_client_that_is_not_named_is_not_believed() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    // Nothing listens there.
    let daemon = setup(PROXY).add("[traces]\nendpoint = \"http://127.0.0.1:9\"\n").start();
    let mut client = Client::tcp_from(PROXY, daemon.port());

    client.send(format!(
        "PROXY UNKNOWN\r\nGET /env HTTP/1.1\r\nHost: test\r\ntraceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n\r\n"
    ));
    let response = client.response();

    let text = response.text();
    assert!(text.contains("TRACEPARENT=00-") && !text.contains(TRACE), "{text}");
}

#[test]
fn a_client_that_the_header_names_has_the_connections_of_its_address() {
    let daemon = setup(PROXY).add("connections = 20\nconnections_per_peer = 2\n").start();
    // Half a request keeps a connection busy.
    let connect = |client: u8| {
        let mut connected = Client::tcp_from(PROXY, daemon.port());
        let header = format!("PROXY TCP4 203.0.113.{client} 198.51.100.1 4711 443\r\n");
        let _refused = connected.try_send([header.as_bytes(), b"GET /env HTTP/1.1\r\n"].concat());
        connected
    };
    let mut first = [connect(7), connect(7)];
    for held in &mut first {
        // They are counted once their header is read, and answered after that.
        held.send("Host: test\r\n\r\nGET /env HTTP/1.1\r\n");
        assert_eq!(held.response().status(), 200);
    }

    let mut third = connect(7);
    let mut other = connect(8);

    other.send("Host: test\r\n\r\n");
    assert_eq!(other.response().status(), 200, "another client of the same proxy");
    assert!(!third.is_answered(), "the third of one client");
}

#[test]
fn connections_of_proxies_and_of_clients_that_are_not_named_count_for_no_address() {
    let daemon = setup(PROXY).add("connections = 20\nconnections_per_peer = 1\n").start();
    let unnamed = b"PROXY UNKNOWN\r\n".to_vec();
    let proxy = b"PROXY TCP4 127.0.0.2 198.51.100.1 4711 443\r\n".to_vec();

    let held = [unnamed.clone(), unnamed, version_2(0, 0, &[]), proxy.clone(), proxy].map(|header| {
        let mut client = Client::tcp_from(PROXY, daemon.port());
        // Half a request behind the first keeps the connection busy.
        client.send([&header[..], GET.as_bytes(), b"GET /env HTTP/1.1\r\n"].concat());
        assert_eq!(client.response().status(), 200);
        client
    });

    for mut client in held {
        client.send("Host: test\r\n\r\n");
        assert_eq!(client.response().status(), 200);
    }
}

#[test]
fn a_connection_without_its_header_does_not_hold_up_the_end() {
    attempted(|| {
        let mut daemon = setup(PROXY).start();
        let mut silent = Client::tcp_from(PROXY, daemon.port());
        // Accepted after it.
        assert!(
            told(&daemon, b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n").starts_with("203.0.113.7")
        );
        let start = Instant::now();

        assert_eq!(daemon.terminate().code, Some(0));

        let time = start.elapsed();
        assert!(silent.rest().is_empty());
        if time < Duration::from_secs(3) { Ok(()) } else { Err(format!("{time:?}")) }
    });
}

#[test]
fn a_client_that_is_no_proxy_or_sends_no_header_is_closed_and_counted() {
    // Only half a header is waited for in vain. The other clients have their time.
    let (daemon, hurried) = (setup(PROXY).start(), waiting(PROXY, "500ms").start());
    let header = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n";
    let forged = |daemon: &Daemon, source: Ipv4Addr, bytes: &str| {
        let mut client = Client::tcp_from(source, daemon.port());
        let _refused = client.try_send(bytes);
        !client.is_answered()
    };

    assert!(forged(&daemon, Ipv4Addr::LOCALHOST, &[header, GET].concat()), "no proxy");
    assert!(forged(&daemon, PROXY, GET), "no header");
    assert!(forged(&daemon, PROXY, "PROXY TCP4 203.0.113.7 nobody 4711 443\r\n"), "an invalid header");
    assert!(forged(&hurried, PROXY, "PROXY TCP4 203.0."), "half a header");

    let mut lines = daemon.log.lines(3, "(proxy_protocol)");
    lines.extend(hurried.log.lines(1, "(proxy_protocol)"));
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, part) in
        lines.iter().zip(["no trusted proxy", "no header of the", "the header of the", "within 500ms"])
    {
        assert!(line.contains(part), "{line}");
        assert_eq!(line.matches("(proxy_protocol)").count(), 1, "{line}");
    }
}

#[test]
fn the_header_comes_before_tls() {
    if !found(&["curl"], "curl") {
        return;
    }
    let pair = Authority::usual().server(&["localhost"]);
    let daemon = setup(Ipv4Addr::LOCALHOST)
        .add("[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n")
        .file("cert.pem", pair.cert.as_bytes())
        .file("key.pem", pair.key.as_bytes())
        .start();
    let url = format!("https://127.0.0.1:{}/env", daemon.port());

    let ended = finish(Command::new("curl").args(["-ksS", "--haproxy-protocol", &url]), b"", PATIENCE);

    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(told.contains("HTTPS=on"), "{told} {}", ended.stderr);
    let plain = finish(Command::new("curl").args(["-ksS", &url]), b"", PATIENCE);
    assert_ne!(plain.code, Some(0), "a client without a header");
}

#[test]
fn an_endpoint_must_be_listened_on_and_someone_must_be_trusted() {
    let setup = Setup::new("proxy_protocol = [\"tcp://127.0.0.1:1\"]\n");
    let mut command = portcullis();

    let said = finish(command.arg("check").current_dir(setup.path("")), b"", PATIENCE).stderr;

    assert!(said.contains("proxy_protocol: needs trusted_proxies: "), "{said}");
    assert!(said.contains("proxy_protocol[0]: \"tcp://127.0.0.1:1\" is not in listen"), "{said}");
}

#[test]
fn an_endpoint_that_no_trusted_proxy_can_reach_is_refused() {
    for (listen, trusted, lacking) in [
        ("tcp://127.0.0.1:0", "unix", Some("the address or the network of the proxy")),
        ("unix://web.sock", "10.0.0.0/8", Some("\"unix\"")),
        ("tcp://127.0.0.1:0", "10.0.0.0/8", None),
        ("unix://web.sock", "unix", None),
        ("tcp://127.0.0.1:0", "nonsense", None),
    ] {
        let setup = Setup::new(&format!(
            "listen = [\"{listen}\"]\nproxy_protocol = [\"{listen}\"]\ntrusted_proxies = [\"{trusted}\"]\n"
        ));

        let said = finish(portcullis().arg("check").current_dir(setup.path("")), b"", PATIENCE).stderr;

        let wanted = "would be closed, as no client there is trusted: add ";
        let told = said.split_once(wanted).map(|(_, rest)| rest);
        assert_eq!(told.is_some(), lacking.is_some(), "{listen} {trusted}: {said}");
        assert!(told.is_none_or(|rest| rest.starts_with(lacking.unwrap_or_default())), "{said}");
    }
}
