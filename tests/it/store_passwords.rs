//! Passwords of stores: from files and the environment, taken up when they change, and never shown.

use std::fs;

use crate::harness::{Daemon, PATIENCE, Setup, StoreServer, finish, portcullis, until};
use crate::stores::{add, shortener};

/// Every character that has a meaning in a URL.
const PASSWORD: &str = "s3cret:@/%?#[] é";

fn servers() -> Vec<(StoreServer, &'static str)> {
    let redis = StoreServer::redis(&["--requirepass", PASSWORD]).map(|server| (server, ""));
    let nats = StoreServer::nats(&["--user", "ada", "--pass", PASSWORD]).map(|server| (server, "ada@"));
    let token = StoreServer::nats(&["--auth", PASSWORD]).map(|server| (server, ""));
    [redis, nats, token].into_iter().flatten().collect()
}

fn serving(url: &str, password: &str) -> Setup {
    let table = format!("[store.default]\nurl = \"{url}\"\npassword = {password}\n");
    shortener("stores = [\"default\"]", &table).prepend("admin = \"unix://admin.sock\"\ndebug = true\n")
}

fn run(daemon: &Daemon, words: &[&str]) -> String {
    let ended = daemon.verb(words);
    String::from_utf8(ended.stdout).unwrap() + &ended.stderr
}

#[test]
fn a_changed_password_of_a_file_is_taken_up_and_shown_nowhere() {
    for (server, user) in servers() {
        let setup = serving(&server.url_as(user), "{ file = \"secret/password\" }");
        fs::create_dir(setup.path("secret")).unwrap();
        fs::write(setup.path("secret/password"), "0utdated\n").unwrap();
        let daemon = setup.start();
        assert!(daemon.get("/links").status() >= 500);

        fs::write(daemon.path("secret/password"), format!("{PASSWORD}\n")).unwrap();

        until("the password to be taken up", || (daemon.get("/links").status() == 200).then_some(()));
        add(&mut daemon.client());
        let config = daemon.path("portcullis.toml");
        let shown = [
            run(&daemon, &["status", "--json"]),
            run(&daemon, &["store", "list", "--json"]),
            run(&daemon, &["plan", "-c", config.to_str().unwrap(), "--json"]),
            run(&daemon, &["explain", "GET", "/links", "--json"]),
            daemon.metrics(),
            daemon.log.text(),
        ];
        for text in shown {
            for secret in ["s3cret", "0utdated"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }
}

#[test]
fn a_password_of_the_environment_opens_the_store_and_a_check_skips_it() {
    for (server, user) in servers() {
        let setup = serving(&server.url_as(user), "{ env = \"STORE_PASSWORD\" }");
        let mut check = portcullis();
        check.args(["check", "-c"]).arg(setup.path("portcullis.toml"));
        let checked = finish(&mut check, b"", PATIENCE);
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        assert!(checked.stderr.contains("not checked: store.default.password"), "{}", checked.stderr);

        let daemon = setup.env("STORE_PASSWORD", PASSWORD).start();

        add(&mut daemon.client());
    }
}

#[test]
fn a_missing_password_keeps_the_gate_shut() {
    let ended = serving("redis://127.0.0.1:1", "{ file = \"nothing\" }").fail();

    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("store.default.password: there is no file"), "{}", ended.stderr);
}
