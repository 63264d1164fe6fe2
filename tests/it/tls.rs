//! TLS as clients meet it.

use std::process::Command;

use crate::harness::{Authority, Daemon, PATIENCE, Program, Setup, finish, found};

/// Serves one module at `/` over TLS, with a certificate for 127.0.0.1 and more lines below `[tls]`.
fn secure(settings: &str, module: &[u8]) -> Setup {
    let pair = Authority::usual().server(&["127.0.0.1", "localhost"]);
    Setup::one("", module)
        .add(&format!("[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n{settings}\n"))
        .file("cert.pem", pair.cert.as_bytes())
        .file("key.pem", pair.key.as_bytes())
        .file("ca.pem", Authority::usual().cert.as_bytes())
}

/// Asks with curl, and returns what it printed; none: it was refused.
fn curl(daemon: &Daemon, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "30", "--cacert"]).arg(daemon.path("ca.pem"));
    command.arg(format!("https://127.0.0.1:{}/", daemon.port())).args(arguments);
    let ended = finish(&mut command, b"", PATIENCE);
    (ended.code == Some(0)).then(|| String::from_utf8(ended.stdout).unwrap())
}

#[test]
fn a_client_that_speaks_in_clear_is_told_to_use_tls() {
    let daemon = secure("", &environment()).start();
    let mut client = daemon.client();

    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    let answer = String::from_utf8(client.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("this port speaks TLS: ask for https://\n"), "{answer}");
}

fn has_clients() -> bool {
    found(&["curl"], "curl") && found(&["openssl"], "openssl")
}

/// A guest that answers with its environment.
fn environment() -> Vec<u8> {
    Program::text().environment().wasm()
}

#[test]
fn a_request_over_tls_is_answered_and_known_to_be_one() {
    if !has_clients() {
        return;
    }
    let daemon = secure("", &environment()).start();

    let said = curl(&daemon, &["--http1.1"]).unwrap();

    for line in ["HTTPS=on", &format!("X_FULL_URL=https://127.0.0.1:{}/", daemon.port())] {
        assert!(said.split('\0').any(|found| found == line), "{line} is not in:\n{said}");
    }
}

#[test]
fn http_2_is_agreed_on_with_a_client_that_has_it() {
    if !has_clients() {
        return;
    }
    let daemon = secure("", &environment()).start();

    let said = curl(&daemon, &["--http2", "-w", "%{http_version}"]).unwrap();

    assert!(said.ends_with('2'), "{said}");
    for line in ["HTTPS=on", "SERVER_PROTOCOL=HTTP/2.0"] {
        assert!(said.split('\0').any(|found| found == line), "{line} is not in:\n{said}");
    }
}
