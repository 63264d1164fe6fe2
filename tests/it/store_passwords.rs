//! Passwords of stores: from files and the environment, taken up when they change, and never shown.

use std::fs;

use sha2::{Digest as _, Sha256};

use crate::harness::{Daemon, PATIENCE, Program, Setup, StoreServer, finish, guests, portcullis, until};
use crate::replay::only;
use crate::stores::{add, shortener};

/// Every character that has a meaning in a URL.
const PASSWORD: &str = "s3cret:@/%?#[] é";

fn servers() -> Vec<(StoreServer, &'static str)> {
    let redis = StoreServer::redis(&["--requirepass", PASSWORD]).map(|server| (server, ""));
    let digest: String =
        Sha256::digest(PASSWORD.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let of_user = ["--user", "ada", "on", &format!("#{digest}"), "~*", "&*", "+@all"];
    let of_user = StoreServer::redis(&of_user).map(|server| (server, "ada@"));
    let nats = StoreServer::nats(&["--user", "ada", "--pass", PASSWORD]).map(|server| (server, "ada@"));
    let token = StoreServer::nats(&["--auth", PASSWORD]).map(|server| (server, ""));
    [redis, of_user, nats, token].into_iter().flatten().collect()
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

#[test]
fn a_password_in_a_url_is_shown_nowhere_and_a_guest_is_told_no_address() {
    let [stores, sql] = ["stores.wasm", "sql.wasm"].map(|file| fs::read(guests().join(file)).unwrap());
    let settings = |verb: &str, grant: &str| {
        format!("output = \"raw\"\nrecord = \"failures\"\nargs = [{verb:?}]\n{grant}")
    };
    // Nothing listens on port 1.
    let daemon = Setup::new(
        "admin = \"unix://admin.sock\"\nrecord_dir = \"failures\"\ndebug = true\n\
         [store.r]\nurl = \"redis://ada:s3cret@127.0.0.1:1\"\n[store.n]\nurl = \"nats://ada:s3cret@127.0.0.1:1\"\n\
         [database.p]\nurl = \"postgres://ada:s3cret@127.0.0.1:1/app\"\n",
    )
    .handler("redis", &settings("down", "stores = { default = \"r\" }"), &stores)
    .handler("nats", &settings("down", "stores = { default = \"n\" }"), &stores)
    .handler("postgres", &settings("down", "databases = { main = \"p\" }"), &sql)
    .handler("failing", &settings("none", "stores = [\"r\"]\ndatabases = [\"p\"]"), &Program::new().trap().wasm())
    .start();

    let told = ["redis", "nats", "postgres"].map(|name| daemon.get(&format!("/{name}")).text().to_owned());
    let failed = daemon.get("/failing").text().to_owned();
    let (recorded, _) = only(&daemon);

    let why = "it cannot be reached: see the daemon's log)\n";
    let store = format!("Some(Unavailable: store default: {why}");
    assert_eq!(told, [store.clone(), store, format!("Some(Unavailable: database main: {why}")]);
    let config = daemon.path("portcullis.toml");
    let config = config.to_str().unwrap();
    let shown = [
        failed,
        fs::read_to_string(recorded).unwrap(),
        run(&daemon, &["status", "--json"]),
        run(&daemon, &["store", "list", "--json"]),
        run(&daemon, &["plan", "-c", config, "--json"]),
        run(&daemon, &["explain", "GET", "/postgres", "--json"]),
        run(&daemon, &["history", "--json"]),
        run(&daemon, &["sql", "p", "select 1"]),
        run(&daemon, &["store", "get", "n", "a"]),
        daemon.metrics(),
        daemon.log.text(),
    ];
    for text in shown {
        assert!(!text.contains("s3cret"), "{text}");
    }
}
