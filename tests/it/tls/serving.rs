//! Connections over TLS by different clients: handshakes, names and deadlines.

use std::time::Duration;

use rustix::process::Signal;

use super::site::{client, curl, environment, has, programs, s_client, secure, trusting};
use crate::harness::{Authority, Client, PATIENCE, Program, Setup, found, free_port, until};
use crate::lifecycle::{AS_CONFIGURED, hello};
use crate::upgrade::{Successors, successor};

#[test]
fn a_request_over_tls_is_answered_and_known_to_be_one() {
    if !programs() {
        return;
    }
    let daemon = secure("", &environment()).start();
    let url = format!("X_FULL_URL=https://127.0.0.1:{}/", daemon.port());

    for (version, protocol) in [("1.2", "SSL_PROTOCOL=TLSv1.2"), ("1.3", "SSL_PROTOCOL=TLSv1.3")] {
        let ended = curl(&daemon, &["--http1.1", "--tlsv1.2", "--tls-max", version]);

        let said = String::from_utf8(ended.stdout).unwrap();
        for variable in ["HTTPS=on", &url, protocol, "SSL_CLIENT_VERIFY=NONE", "SSL_SESSION_RESUMED=Initial"]
        {
            assert!(has(&said, variable), "{variable} is not in:\n{said}{}", ended.stderr);
        }
        assert!(!said.contains("SSL_TLS_SNI"), "an address is not asked for");
    }
}

#[test]
fn http_2_is_agreed_on_with_a_client_that_has_it() {
    if !programs() {
        return;
    }
    let daemon = secure("", &environment()).start();

    let ended = curl(&daemon, &["--http2", "-w", "%{http_version}"]);

    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.ends_with('2'), "{said}{}", ended.stderr);
    for variable in ["HTTPS=on", "SERVER_PROTOCOL=HTTP/2.0"] {
        assert!(has(&said, variable), "{variable} is not in:\n{said}");
    }
}

#[test]
fn nobody_can_pretend_by_a_header_field() {
    let daemon = secure("", &environment()).start();

    let fields = "HTTPS: off\r\nSSL-CLIENT-VERIFY: SUCCESS\r\nSSL_CLIENT_VERIFY: SUCCESS\r\n";
    let said = client(&daemon).ask("GET", "/", fields);

    let said = said.text();
    assert!(has(said, "HTTPS=on") && has(said, "SSL_CLIENT_VERIFY=NONE"), "{said}");
    assert_eq!(said.matches("SUCCESS").count(), 1, "as a header field and nothing else: {said}");
    assert!(has(said, "HTTP_SSL_CLIENT_VERIFY=SUCCESS"), "{said}");
}

#[test]
fn a_client_that_speaks_in_clear_is_told_to_use_tls() {
    let daemon = secure("", &hello()).start();
    let mut client = daemon.client();

    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    let answer = String::from_utf8(client.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\r\ncontent-type: text/plain; charset=utf-8\r\n"), "{answer}");
    assert!(answer.ends_with("this port speaks TLS: use https://\n"), "{answer}");
}

#[test]
fn a_client_that_speaks_tls_to_a_port_in_clear_is_told_so_at_once() {
    let daemon = Setup::one("", &hello()).prepend("access_log = true\n").start();
    // The first message of TLS may have a line end or none.
    for rest in [&b"\xfc\x03\x03"[..], b"\n\x03\x03"] {
        let mut client = daemon.client();

        client.send([&b"\x16\x03\x01\x02\0\x01\0\x01"[..], rest].concat());

        let answer = String::from_utf8(client.rest()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.ends_with("this port does not speak TLS: use http://\n"), "{answer}");
        let logged = daemon.log.line(&format!("for {}", client.socket().local_addr().unwrap()));
        assert!(logged.contains("INFO - -> 400 ") && logged.contains("(unexpected_tls)"), "{logged}");
    }
}

#[test]
fn a_large_upload_that_is_refused_at_once_still_shows_its_client_the_answer() {
    // More than the kernel buffers. A lingering close lasts 10 s, and encryption takes long on a busy machine.
    const PIECES: usize = 24;
    let daemon = secure("", &hello()).start();
    let mut client = client(&daemon);
    let piece = vec![b'x'; 1 << 20];
    let length = PIECES * piece.len();
    client.send(format!("POST /nowhere HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"));

    // Like a client that reads the response only after it has sent everything.
    for _ in 0..PIECES {
        client.send(&piece);
    }

    assert_eq!(client.response().status(), 404);
}

#[test]
fn old_versions_are_refused() {
    if !programs() {
        return;
    }
    let daemon = secure("", &hello()).start();

    for version in ["-tls1", "-tls1_1"] {
        // At its default level OpenSSL would not offer this version.
        let ended = s_client(&daemon, &[version, "-cipher", "DEFAULT@SECLEVEL=0"]);

        assert!(ended.stderr.contains(" alert "), "{}", ended.stderr);
        assert!(!String::from_utf8_lossy(&ended.stdout).contains("hello"));
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let ended = s_client(&daemon, &[version]);
        assert!(String::from_utf8_lossy(&ended.stdout).ends_with("hello\n"), "{}", ended.stderr);
    }
}

#[test]
fn a_certificate_is_picked_by_the_name_that_is_asked_for() {
    let authority = Authority::usual();
    let pairs =
        ["one.example", "two.example", "*.wild.example"].map(|name| (name, authority.server(&[name])));
    let mut setup = secure("", &environment());
    for (position, (_, pair)) in pairs.iter().enumerate() {
        setup = setup
            .add(&format!("[[tls.certificate]]\ncert = \"{position}.pem\"\nkey = \"{position}.key\"\n"))
            .file(&format!("{position}.pem"), pair.cert.as_bytes())
            .file(&format!("{position}.key"), pair.key.as_bytes());
    }
    let daemon = setup.start();
    let trusting = trusting(authority, None);

    // The client verifies each name, and would refuse another certificate.
    for host in ["one.example", "TWO.example", "a.wild.example", "localhost"] {
        let mut client = Client::tls(daemon.port(), trusting.clone(), host);
        let said = client.get("/");
        assert!(has(said.text(), &format!("SSL_TLS_SNI={}", host.to_lowercase())), "{}", said.text());
    }
    // A wildcard covers one label. A name without a certificate gets the first certificate.
    for host in ["a.b.wild.example", "wild.example", "three.example"] {
        let mut client = Client::tls(daemon.port(), trusting.clone(), host);
        let refused = client.try_send("GET / HTTP/1.1\r\n\r\n").unwrap_err().to_string();
        assert!(refused.contains("localhost"), "{host}: {refused}");
    }
}

#[test]
fn silent_clients_do_not_hold_up_a_good_one() {
    const MOST: usize = 8;
    let daemon = secure(&format!("[http]\nhandshakes = {MOST}\nfirst_byte = \"60s\""), &hello()).start();
    let mut silent: Vec<Client> = (0..MOST * 8)
        .map(|number| {
            let mut client = daemon.client();
            // Half of them start a handshake and stop.
            if number % 2 == 0 {
                client.send([22, 3, 1, 2, 0, 1]);
            }
            client
        })
        .collect();

    assert_eq!(client(&daemon).get("/").text(), "hello\n");

    let mut last = silent.split_off(MOST * 8 - MOST / 2);
    for mut pushed_out in silent.drain(..MOST) {
        assert!(pushed_out.rest().is_empty(), "the oldest are closed without a word");
    }
    assert!(last.iter_mut().all(|client| client.is_silent_for(Duration::from_millis(50))), "the latest wait");
}

#[test]
fn a_handshake_has_its_time_and_no_more() {
    let bounds = "[http]\nhandshake = \"6s\"\nfirst_byte = \"3s\"";
    let daemon = secure(bounds, &hello()).start();
    let (mut silent, mut slow) = (daemon.client(), daemon.client());

    slow.send([22, 3, 1, 2, 0, 1]);

    assert!(silent.rest().is_empty() && slow.rest().is_empty());
    let mut idle = client(&daemon);
    assert_eq!(idle.get("/").text(), "hello\n");
    // After the handshake, the deadlines of every connection apply.
    assert!(client(&daemon).handshaken().ends_properly());
}

#[test]
fn a_whole_answer_ends_properly_and_a_broken_one_does_not() {
    let whole = Program::text().say("all").wasm();
    let broken = Program::text().say("so far").read_once().trap().wasm();
    let daemon = secure("", &whole).handler("broken", "", &broken).start();
    let ends = |version: &str| {
        let mut client = client(&daemon);
        client.send(format!("GET / HTTP/{version}\r\nHost: test\r\nConnection: close\r\n\r\n"));
        client.ends_properly()
    };
    let breaks = |version: &str| {
        let mut client = client(&daemon);
        let fields = "Host: test\r\nConnection: close\r\nContent-Length: 1\r\n";
        client.send(format!("POST /broken HTTP/{version}\r\n{fields}\r\n"));
        // The handler fails behind its head: before, the daemon would answer in its place.
        client.up_to(b"so far");
        client.send("x");
        !client.ends_properly()
    };

    // An HTTP/1.0 body is delimited only by the end of the connection.
    assert!(ends("1.0") && ends("1.1"));
    assert!(breaks("1.0") && breaks("1.1"));
}

#[test]
fn a_connection_that_is_drained_ends_properly() {
    let mut daemon = secure("", &hello()).start();
    let mut client = client(&daemon);
    assert_eq!(client.get("/").text(), "hello\n");

    daemon.signal(Signal::TERM);

    assert!(client.ends_properly());
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

#[test]
fn an_endpoint_can_stay_in_clear() {
    let listen = "listen = [\"tcp://127.0.0.1:0\", \"tcp://127.0.0.2:0\"]\n";
    let daemon =
        secure("plain = [\"tcp://127.0.0.2:0\"]", &hello()).prepend(listen).under(&AS_CONFIGURED).start();
    let lines = daemon.log.lines(2, "listening on tcp://");
    let clear = lines.iter().find_map(|line| line.split_once("tcp://127.0.0.2:")).unwrap().1;

    let mut plain = Client::to(format!("127.0.0.2:{clear}").parse().unwrap());

    assert_eq!(plain.get("/").text(), "hello\n");
    assert_eq!(client(&daemon).get("/").text(), "hello\n");
}

#[test]
fn an_upgrade_hands_over_what_is_encrypted() {
    let daemon = secure("", &hello()).start();
    assert_eq!(client(&daemon).get("/").text(), "hello\n");

    daemon.signal(Signal::USR2);
    let _successors = Successors(vec![successor(&daemon, 1)]);

    assert_eq!(client(&daemon).get("/").text(), "hello\n");
}

#[test]
fn sockets_of_systemd_are_encrypted_and_unix_sockets_are_not() {
    if !programs() || !found(&["systemd-socket-activate"], "systemd") {
        return;
    }
    let port = free_port();
    let setup = secure("", &hello()).host("fd://");
    let path = setup.path("p.sock");
    let (tcp, unix) = (format!("127.0.0.1:{port}"), path.to_str().unwrap().to_owned());
    let daemon = setup.under(&["systemd-socket-activate", "-l", &tcp, "-l", &unix]).spawn();
    // The file exists before the socket listens.
    let mut client = until("it listens", || Client::try_unix(&path).ok());

    assert_eq!(client.get("/").text(), "hello\n");
    let ended = curl(&daemon, &[&format!("https://127.0.0.1:{port}/")]);

    assert_eq!(String::from_utf8_lossy(&ended.stdout), "hello\n", "{}", ended.stderr);
}
