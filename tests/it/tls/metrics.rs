//! The metrics of TLS.

use std::fs;
use std::process::Command;

use super::site::{client, secure, trusting};
use crate::harness::{Authority, Client, PATIENCE, finish};
use crate::lifecycle::hello;

const HANDSHAKES: &str = "portcullis_tls_handshakes_total";

#[test]
fn handshakes_are_counted_by_how_they_ended() {
    let daemon =
        secure("client_ca = \"ca.pem\"", &hello()).prepend("admin = \"unix://admin.sock\"\n").start();
    let usual = Authority::usual();
    let mut one = Client::tls(daemon.port(), trusting(usual, Some(&usual.client("ada"))), "127.0.0.1");
    assert_eq!(one.get("/").text(), "hello\n");
    daemon.counted(HANDSHAKES, &["end=\"ok\""], 1.0);

    // No certificate.
    let mut none = client(&daemon);
    none.send("GET / HTTP/1.1\r\n\r\n");
    daemon.counted(HANDSHAKES, &["end=\"client_certificate\""], 1.0);
    let mut clear = daemon.client();
    clear.send("GET / HTTP/1.1\r\n\r\n");
    daemon.counted(HANDSHAKES, &["end=\"not_tls\""], 1.0);
    let mut broken = daemon.client();
    broken.send([22, 3, 1, 0, 4, 9, 9, 9, 9]);
    daemon.counted(HANDSHAKES, &["end=\"malformed\""], 1.0);
    let mut gone = daemon.client();
    gone.send([22, 3, 1]);
    drop(gone);
    daemon.counted(HANDSHAKES, &["end=\"left\""], 1.0);

    assert_eq!(daemon.metric(HANDSHAKES, &["end=\"ok\""]), 1.0);
    // A handshake is counted a moment before it is over.
    daemon.counted("portcullis_tls_handshakes", &[], 0.0);
}

#[test]
fn a_client_that_does_not_believe_us_is_counted() {
    if !super::site::programs() {
        return;
    }
    let daemon = secure("", &hello()).prepend("admin = \"unix://admin.sock\"\n").start();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20"]).arg(format!("https://127.0.0.1:{}/", daemon.port()));

    assert_ne!(finish(&mut curl, b"", PATIENCE).code, Some(0));

    daemon.counted(HANDSHAKES, &["end=\"alert\""], 1.0);
}

#[test]
fn a_scraper_that_keeps_its_connection_sees_the_certificates_of_a_reload() {
    let daemon = secure("", &hello()).prepend("admin = \"unix://admin.sock\"\n").start();
    let mut scraper = Client::unix(&daemon.path("admin.sock"));
    let mut has_other = || {
        scraper.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        scraper.response().text().contains("/other.pem\"")
    };
    assert!(!has_other());
    let pair = Authority::usual().server(&["other.test"]);
    fs::write(daemon.path("other.pem"), pair.cert).unwrap();
    fs::write(daemon.path("other-key.pem"), pair.key).unwrap();
    let place = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&place).unwrap();
    let added = "[[tls.certificate]]\ncert = \"other.pem\"\nkey = \"other-key.pem\"\n";
    fs::write(&place, text + added).unwrap();

    let reloaded = daemon.verb(&["reload"]);

    assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);
    assert!(has_other());
}

#[test]
fn the_end_of_each_certificate_is_told() {
    let daemon = secure("", &hello()).prepend("admin = \"unix://admin.sock\"\n").start();

    let left = daemon.metric("portcullis_tls_certificate_seconds_left", &["/cert.pem\""]);
    assert!(left > 86400.0, "{left}");
    let told = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    let line = told.lines().find(|line| line.starts_with("certificates ")).unwrap();
    assert!(line.contains("/cert.pem until ") && line.ends_with(" days)"), "{line}");
}
