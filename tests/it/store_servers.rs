//! Stores in a server, and what the daemon does without it; stores that a check or a plan tries.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Authority, Daemon, PATIENCE, Program, Setup, StoreServer, finish, free_port, portcullis, until,
};
use crate::stores::{add, hits, is_followed, shortener};

/// The shortener over a store with this URL, beside a handler without a store.
fn serving(url: &str) -> Setup {
    shortener("stores = [\"default\"]", &format!("[store.default]\nurl = \"{url}\"\n"))
        .handler("other", "", &Program::text().say("hi").wasm())
        .prepend("admin = \"unix://admin.sock\"\n")
}

/// Runs a verb, and returns its exit status and all of its output.
fn run(daemon: &Daemon, words: &[&str]) -> (Option<i32>, String) {
    let ended = daemon.verb(words);
    (ended.code, String::from_utf8(ended.stdout).unwrap() + &ended.stderr)
}

/// Returns the error of the store in `status`.
fn error(daemon: &Daemon) -> Value {
    let (_, status) = run(daemon, &["status", "--json"]);
    serde_json::from_str::<Value>(&status).unwrap()["stores"][0]["error"].clone()
}

#[test]
fn a_server_that_is_stopped_fails_the_handler_that_uses_it_and_no_other() {
    for server in [StoreServer::redis(&[]), StoreServer::nats(&[])] {
        let Some(mut server) = server else { continue };
        let daemon = serving(&server.url()).start();
        let slug = add(&mut daemon.client());
        assert_eq!(error(&daemon), Value::Null);

        server.stop();

        let failed = daemon.get(&format!("/l/{slug}"));
        assert!(failed.status() >= 500, "{}", failed.text());
        assert_eq!(daemon.get("/other").text(), "hi");
        let why = error(&daemon);
        assert!(why.as_str().is_some_and(|why| !why.is_empty()), "{why}");
        let outages = daemon.so_far("portcullis_store_operations_total", &["end=\"outage\""]);
        assert!(outages >= 1.0, "{outages}");

        server.start();

        until("the store to be reached again", || {
            is_followed(&daemon.get(&format!("/l/{slug}"))).then_some(())
        });
        until("no error in status", || error(&daemon).is_null().then_some(()));
        assert!(hits(&daemon, &slug) >= 1);
    }
}

#[test]
fn a_daemon_starts_without_the_server_of_a_store_and_finds_it_later() {
    for server in [StoreServer::redis(&[]), StoreServer::nats(&[])] {
        let Some(mut server) = server else { continue };
        server.stop();

        let daemon = serving(&server.url()).start();

        daemon.log.line("jobs that use it fail until it can be");
        assert_eq!(daemon.get("/other").text(), "hi");
        assert!(daemon.get("/links").status() >= 500);
        assert!(error(&daemon).is_string());
        assert!(daemon.metric("portcullis_store_unopened_operations_total", &["store=\"default\""]) >= 1.0);
        server.start();
        until("the store to be opened", || (daemon.get("/links").status() == 200).then_some(()));
        assert_eq!(error(&daemon), Value::Null);
    }
}

#[test]
fn a_server_without_memory_writes_nothing_and_the_log_says_why() {
    let Some(server) = StoreServer::redis(&["--maxmemory", "1"]) else { return };
    let daemon = serving(&server.url()).start();

    let refused = daemon.client().submit("POST", "/links", "", br#"{"url": "https://example.org/"}"#);

    assert_eq!(refused.status(), 500, "{}", refused.text());
    daemon.log.line("store \"default\": the store cannot be reached: \"OOM\": command not allowed");
    daemon.log.line("store default: it cannot be reached: see the daemon's log");
}

/// Starts servers with TLS, whose certificate is put into this directory. Returns them with the URL of a store in each.
fn servers_with_tls(dir: &Path) -> Vec<(StoreServer, String)> {
    let pair = Authority::usual().server(&["127.0.0.1"]);
    let file = |name: &str, text: String| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = (file("cert.pem", pair.cert), file("key.pem", pair.key));
    // Beside the port without TLS.
    let port = free_port().to_string();
    let flags = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let redis = StoreServer::redis(&[&flags[..], &["--tls-auth-clients", "no"]].concat());
    let redis = redis.map(|server| (server, format!("rediss://127.0.0.1:{port}")));
    let nats = StoreServer::nats(&["--tls", "--tlscert", &cert, "--tlskey", &key]);
    let nats = nats.map(|server| {
        let url = format!("tls://127.0.0.1:{}", server.port);
        (server, url)
    });
    [redis, nats].into_iter().flatten().collect()
}

#[test]
fn a_server_with_tls_is_used_if_its_certificate_is_trusted_and_refused_otherwise() {
    let place = tempfile::tempdir().unwrap();
    for (_server, url) in servers_with_tls(place.path()) {
        let trusting = serving(&url).file("ca.pem", Authority::usual().cert.as_bytes());
        let authorities = trusting.path("ca.pem");
        let trusting = trusting.env("SSL_CERT_FILE", authorities).start();
        let stranger = serving(&url).start();

        // On a busy machine, a handshake may take longer than the daemon waits for it.
        until("the store to be reached", || (trusting.get("/links").status() == 200).then_some(()));
        let slug = add(&mut trusting.client());

        assert!(is_followed(&trusting.get(&format!("/l/{slug}"))), "{url}");
        assert_eq!(error(&trusting), Value::Null, "{url}");
        assert_eq!(stranger.get("/links").status(), 500, "{url}");
        let why = error(&stranger);
        assert!(why.as_str().is_some_and(|why| why.contains("certificate")), "{url}: {why}");
    }
}

#[test]
fn a_check_warns_of_a_server_that_does_not_answer() {
    // Nothing listens on port 1.
    let setup = serving("redis://ada:s3cret@127.0.0.1:1");
    let mut check = portcullis();
    check.args(["check", "-c"]).arg(setup.path("portcullis.toml"));

    let checked = finish(&mut check, b"", PATIENCE);

    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(
        checked.stderr.contains("warning: store \"default\": the store cannot be reached"),
        "{}",
        checked.stderr
    );
    assert!(!checked.stderr.contains("s3cret"), "{}", checked.stderr);
}

#[test]
fn a_check_finds_a_damaged_file_and_leaves_every_file_as_it_was() {
    let daemon = serving("redb:kept.redb").start();
    let slug = add(&mut daemon.client());
    let file = daemon.path("kept.redb");
    let check = |daemon: &Daemon| {
        let mut check = portcullis();
        check.args(["check", "-c"]).arg(daemon.path("portcullis.toml"));
        finish(&mut check, b"", PATIENCE)
    };
    // In use, and as a kill leaves it: a start would repair it.
    assert_eq!(check(&daemon).code, Some(0));
    daemon.signal(Signal::KILL);
    until("the end", || std::net::TcpStream::connect(("127.0.0.1", daemon.port())).is_err().then_some(()));
    let killed = fs::read(&file).unwrap();

    let checked = check(&daemon);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert_eq!(fs::read(&file).unwrap(), killed);

    // Pages that are free may hold the text too, so all places are changed.
    let mut damaged = killed.clone();
    for (at, byte) in damaged.iter_mut().enumerate().take(killed.len() - slug.len()) {
        *byte ^= u8::from(killed[at..].starts_with(slug.as_bytes()));
    }
    fs::write(&file, &damaged).unwrap();
    let checked = check(&daemon);
    assert_eq!(checked.code, Some(1));
    assert!(checked.stderr.contains("is damaged or not a store") && checked.stderr.contains("move it away"));
    assert_eq!(fs::read(&file).unwrap(), damaged);
}

#[test]
fn a_plan_shows_changes_of_stores_and_makes_none() {
    let daemon = serving("redb:kept.redb").start();
    let config = fs::read_to_string(daemon.path("portcullis.toml")).unwrap();
    let next = config.replace("redb:kept.redb\"", "redb:next.redb\"\nquota = \"1MiB\"")
        + "\n[store.down]\nurl = \"redis://127.0.0.1:1\"\n[handler.last]\nmodule = \"other.wasm\"\nstores = [\"down\"]\n";
    fs::write(daemon.path("next.toml"), next).unwrap();
    let file = daemon.path("next.toml");

    let (code, planned) = run(&daemon, &["plan", "-c", file.to_str().unwrap()]);

    assert_eq!(code, Some(0), "{planned}");
    for wanted in [
        "+ handler last",
        "~ store default\n    url redb:",
        "    quota 268435456 -> 1048576\n",
        "+ store down\n    redis://127.0.0.1:1\n",
        "! warning: store \"down\": the store cannot be reached",
        "store default (redb:",
    ] {
        assert!(planned.contains(wanted), "{wanted}: {planned}");
    }
    assert!(!daemon.path("next.redb").exists());
    let (_, explained) = run(&daemon, &["explain", "GET", "/links"]);
    assert!(explained.contains("store           default (redb:"), "{explained}");
}
