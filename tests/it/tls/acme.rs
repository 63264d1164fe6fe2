//! Certificates that the daemon obtains from an ACME server, which validates it for real.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::Signal;
use rustls::ClientConfig;
use serde_json::Value;

use super::pebble::Pebble;
use super::site::trusting_roots;
use crate::harness::{Authority, Client, Daemon, PATIENCE, Setup, finish, free_port, portcullis, until};
use crate::lifecycle::{AS_CONFIGURED, hello};
use crate::upgrade::{Successors, successor};

/// Long enough that nothing is renewed within a test.
const YEAR: u32 = 365 * 24 * 60 * 60;

/// Serves `hello` for `a.test` with certificates from `directory`: over TLS at the first port, in clear at the second.
fn site((tls, http): (u16, u16), directory: &str, challenge: &str, state: &Path) -> Setup {
    Setup::one("", &hello())
        .prepend(&format!(
            "listen = [\"tcp://127.0.0.1:{tls}\", \"tcp://127.0.0.1:{http}\"]\nadmin = \"unix://admin.sock\"\n"
        ))
        .add(&format!(
            "[tls]\nplain = [\"tcp://127.0.0.1:{http}\"]\n[tls.acme]\ndomains = [\"a.test\"]\n\
             email = \"ops@a.test\"\ndirectory = \"{directory}\"\nca = \"ca.pem\"\nchallenges = [\"{challenge}\"]\n"
        ))
        .file("ca.pem", Authority::usual().cert.as_bytes())
        .env("STATE_DIRECTORY", state)
        .under(&AS_CONFIGURED)
}

/// As [`site`], with the ports and the directory of a server.
fn served_by(pebble: &Pebble, challenge: &str, state: &Path) -> Setup {
    site((pebble.tls_port, pebble.http_port), &pebble.directory(), challenge, state)
}

/// Returns the certificate of a connection that works, if there is one.
fn certificate(port: u16, config: &Arc<ClientConfig>) -> Option<Vec<u8>> {
    let mut client = Client::tls(port, config.clone(), "a.test");
    let response = client.get_or_refused("/")?;
    assert_eq!(response.text(), "hello\n");
    Some(client.shown_certificate())
}

/// Returns what `status` says of the host.
fn status(daemon: &Daemon) -> Value {
    let ended = daemon.verb(&["status", "--json"]);
    serde_json::from_slice::<Value>(&ended.stdout).unwrap()["acme"][0].clone()
}

/// Returns the directory of what a server on this port has issued.
fn place(state: &Path, directory: &str) -> PathBuf {
    state.join("acme").join(directory.strip_prefix("https://").unwrap().replace([':', '/'], "-"))
}

#[test]
fn both_validations_lead_to_a_certificate_that_clients_trust() {
    for challenge in ["tls-alpn-01", "http-01"] {
        let Some(pebble) = Pebble::start_new(YEAR) else { return };
        let state = tempfile::tempdir().unwrap();
        let config = trusting_roots(&pebble.root(), None);

        let daemon = served_by(&pebble, challenge, state.path()).start();

        until("a certificate", || certificate(pebble.tls_port, &config));
        daemon.log.line("tls.acme: made an account at https://");
        daemon.log.line("tls.acme: a.test: obtained a certificate from https://");
        let report = status(&daemon);
        assert!(report["days_left"].as_u64().unwrap() >= 363 && report["error"].is_null(), "{report}");
        assert_eq!(daemon.metric("portcullis_acme_attempts_total", &["a.test", "issued"]), 1.0);
        assert!(daemon.metric("portcullis_tls_certificate_seconds_left", &["a.test.pem"]) > 86400.0);
        let place = place(state.path(), &pebble.directory());
        for file in ["a.test.pem", "account.json"] {
            let mode = fs::metadata(place.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        // A client of another name gets the first certificate, and causes no attempt.
        let mut other = Client::tls(pebble.tls_port, config.clone(), "b.test");
        assert!(other.get_or_refused("/").is_none());
        assert_eq!(daemon.metric("portcullis_acme_attempts_total", &["domain="]), 1.0);
        // No validation waits any more, so such paths are routed.
        let mut clear = Client::tcp(pebble.http_port);
        assert_eq!(clear.get("/.well-known/acme-challenge/abc").status(), 404);
    }
}

#[test]
fn a_kept_certificate_is_served_at_once_after_a_restart_and_an_upgrade() {
    let Some(mut pebble) = Pebble::start_new(YEAR) else { return };
    let state = tempfile::tempdir().unwrap();
    let config = trusting_roots(&pebble.root(), None);
    let mut first = served_by(&pebble, "tls-alpn-01", state.path()).start();
    let issued = until("a certificate", || certificate(pebble.tls_port, &config));
    first.log.line("obtained a certificate");
    pebble.stop();
    assert_eq!(first.terminate().code, Some(0));

    let daemon = served_by(&pebble, "tls-alpn-01", state.path()).start();

    assert_eq!(certificate(pebble.tls_port, &config).as_ref(), Some(&issued));
    daemon.signal(Signal::USR2);
    let _ends = Successors(vec![successor(&daemon, 1)]);
    assert_eq!(certificate(pebble.tls_port, &config), Some(issued));
    assert_eq!(daemon.log.count("no certificate"), 0, "{}", daemon.log.text());
}

#[test]
fn a_certificate_is_renewed_while_it_is_served_even_by_a_server_that_forgot_the_account() {
    // A third of this is left when it is renewed.
    let Some(mut pebble) = Pebble::start_new(15) else { return };
    let state = tempfile::tempdir().unwrap();
    let daemon = served_by(&pebble, "http-01", state.path()).start();
    let config = trusting_roots(&pebble.root(), None);
    let first = until("a certificate", || certificate(pebble.tls_port, &config));

    // A client that resumes its session is shown no certificate: each handshake has a configuration of its own.
    let renewed = || certificate(pebble.tls_port, &trusting_roots(&pebble.root(), None));
    until("a renewal", || renewed().filter(|shown| *shown != first));
    pebble.stop();
    pebble.start();
    let config = trusting_roots(&pebble.root(), None);
    until("a certificate for a new account", || certificate(pebble.tls_port, &config));

    daemon.log.lines(2, "made an account");
}

#[test]
fn a_changed_address_is_told_even_to_a_server_that_forgot_the_account() {
    let Some(mut pebble) = Pebble::start_new(YEAR) else { return };
    let state = tempfile::tempdir().unwrap();
    let daemon = served_by(&pebble, "tls-alpn-01", state.path()).start();
    daemon.log.line("obtained a certificate");
    pebble.stop();
    pebble.start();
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("ops@a.test", "new@a.test")).unwrap();
    // So that a certificate is asked for.
    fs::remove_file(place(state.path(), &pebble.directory()).join("a.test.pem")).unwrap();

    daemon.signal(Signal::HUP);

    let config = trusting_roots(&pebble.root(), None);
    until("a certificate for a new account", || certificate(pebble.tls_port, &config));
    daemon.log.lines(2, "made an account");
}

#[test]
fn an_account_that_is_damaged_is_replaced() {
    let Some(pebble) = Pebble::start_new(YEAR) else { return };
    let state = tempfile::tempdir().unwrap();
    let place = place(state.path(), &pebble.directory());
    fs::create_dir_all(&place).unwrap();
    let account = place.join("account.json");
    fs::write(&account, "{}").unwrap();
    fs::set_permissions(&account, fs::Permissions::from_mode(0o600)).unwrap();

    let daemon = served_by(&pebble, "tls-alpn-01", state.path()).start();

    let config = trusting_roots(&pebble.root(), None);
    until("a certificate", || certificate(pebble.tls_port, &config));
    daemon.log.line("account.json is damaged");
    assert!(fs::read_to_string(&account).unwrap().contains("credentials"));
}

#[test]
fn a_certificate_that_could_not_be_kept_is_not_ordered() {
    let state = tempfile::tempdir().unwrap();
    // Nothing listens on port 1.
    let directory = "https://127.0.0.1:1/dir";
    // In the place of the file that is written first.
    fs::create_dir_all(place(state.path(), directory).join("a.test.new")).unwrap();

    let daemon = site((free_port(), free_port()), directory, "http-01", state.path()).start();

    daemon.log.line("no certificate by http-01: write ");
    assert_eq!(daemon.log.count("cannot connect"), 0, "{}", daemon.log.text());
}

#[test]
fn without_a_server_the_gate_opens_and_handshakes_are_refused_until_it_is_there() {
    let Some(mut pebble) = Pebble::start_new(YEAR) else { return };
    pebble.stop();
    let state = tempfile::tempdir().unwrap();

    let daemon = served_by(&pebble, "tls-alpn-01", state.path()).start();

    daemon.log.line("tls.acme: a.test: no certificate by tls-alpn-01");
    let config = trusting_roots(&Authority::usual().cert, None);
    assert!(certificate(pebble.tls_port, &config).is_none());
    assert_eq!(Client::tcp(pebble.http_port).get("/").text(), "hello\n");
    // The failure is logged before it is noted.
    let report =
        until("the failure in status", || Some(status(&daemon)).filter(|report| !report["error"].is_null()));
    assert!(report["error"].as_str().is_some_and(|error| error.contains("cannot connect")), "{report}");
    assert!(report["days_left"].is_null() && report["next"].is_string(), "{report}");
    assert!(daemon.metric("portcullis_acme_failures", &["a.test"]) >= 1.0);
    assert!(daemon.metric("portcullis_acme_last_failure_timestamp_seconds", &["a.test"]) > 1.0);
    pebble.start();
    let config = trusting_roots(&pebble.root(), None);
    until("a certificate", || certificate(pebble.tls_port, &config));
    until("no error in status", || status(&daemon)["error"].is_null().then_some(()));
}

#[test]
fn a_key_that_other_users_may_read_is_refused_at_the_start() {
    let state = tempfile::tempdir().unwrap();
    // Nothing listens on port 1.
    let directory = "https://127.0.0.1:1/dir";
    let place = place(state.path(), directory);
    fs::create_dir_all(&place).unwrap();
    for file in ["a.test.pem", "account.json"] {
        let path = place.join(file);
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();

        let ended = site((free_port(), free_port()), directory, "tls-alpn-01", state.path()).fail();

        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{file}: other users may read the key")), "{}", ended.stderr);
        assert!(ended.stderr.contains("chmod 600"), "{}", ended.stderr);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_plan_shows_what_changes_and_a_check_asks_no_server() {
    let state = tempfile::tempdir().unwrap();
    let daemon = site((free_port(), free_port()), "https://127.0.0.1:1/dir", "http-01", state.path()).start();
    let next = fs::read_to_string(daemon.path("portcullis.toml")).unwrap();
    fs::write(daemon.path("next.toml"), next.replace("[\"a.test\"]", "[\"a.test\", \"b.test\"]")).unwrap();
    let run = |words: &[&str]| {
        let mut verb = portcullis();
        verb.args(words).arg("-c").arg(daemon.path("next.toml")).env("STATE_DIRECTORY", state.path());
        if words == ["plan"] {
            verb.arg("--socket").arg(daemon.path("admin.sock"));
        }
        let ended = finish(&mut verb, b"", PATIENCE);
        assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
        String::from_utf8(ended.stdout).unwrap()
    };

    let (planned, checked) = (run(&["plan"]), run(&["check"]));

    assert!(planned.contains("~ tls\n    acme.domains added: b.test\n"), "{planned}");
    assert!(checked.contains("ok"), "{checked}");
}
