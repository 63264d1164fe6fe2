//! Stores: what handlers keep, across jobs, daemons and crashes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Client, Daemon, Response, Setup, guests, handlers};

/// Clients that follow a link at once.
const CLIENTS: usize = 8;

/// How often each of them does.
const HITS: usize = 125;

/// Serves the shortener with these settings, and a table of stores.
pub(crate) fn shortener(settings: &str, stores: &str) -> Setup {
    let module = fs::read(handlers().join("links.wasm")).unwrap();
    let routes = ["/links", "/links/{slug}", "/l/{slug}"];
    let routes = routes.map(|path| format!("[[route]]\npath = {path:?}\nhandler = \"links\"\n")).concat();
    let config = format!(
        "[handler.links]\nmodule = \"links.wasm\"\nclient_leaves = \"finish\"\n{settings}\n{stores}\n"
    );
    Setup::new(&(config + &routes)).file("links.wasm", &module)
}

/// Serves it with a store in this file.
fn kept_in(file: &Path) -> Daemon {
    shortener("stores = [\"default\"]", &format!("[store.default]\nurl = \"redb:{}\"\n", file.display()))
        .start()
}

pub(crate) fn add(client: &mut Client) -> String {
    let made = client.submit("POST", "/links", "", br#"{"url": "https://example.org/"}"#);
    assert_eq!(made.status(), 201, "{}", made.text());
    made.field("location").unwrap().strip_prefix("/links/").unwrap().to_owned()
}

pub(crate) fn hits(daemon: &Daemon, slug: &str) -> u64 {
    let shown = daemon.get(&format!("/links/{slug}"));
    let shown: serde_json::Value = serde_json::from_slice(&shown.body).unwrap();
    shown["hits"].as_u64().unwrap()
}

pub(crate) fn is_followed(response: &Response) -> bool {
    response.status() == 302 && response.field("location") == Some("https://example.org/")
}

#[test]
fn links_count_every_hit_of_clients_at_once() {
    for store in [
        "url = \"memory:\"",
        "url = \"redb:links.redb\"",
        "url = \"redb:links.redb\"\ndurability = \"relaxed\"",
    ] {
        let stores = format!("[store.default]\n{store}\n");
        let daemon = shortener("stores = [\"default\"]", &stores).start();
        let slug = add(&mut daemon.client());

        let port = daemon.port();
        let target = format!("/l/{slug}");
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut client = Client::tcp(port);
                    assert!((0..HITS).all(|_| is_followed(&client.get(&target))));
                });
            }
        });

        assert_eq!(hits(&daemon, &slug), (CLIENTS * HITS) as u64, "{store}");
    }
}

#[test]
fn links_that_were_acknowledged_survive_a_kill() {
    let place = tempfile::tempdir().unwrap();
    // The directory is made with the store.
    let file = place.path().join("data/links.redb");
    let daemon = kept_in(&file);
    let slug = add(&mut daemon.client());
    let mut followed = 0;
    let mut daemon = Some(daemon);
    for _ in 0..3 {
        let serving = daemon.take().unwrap();
        let mut client = serving.client();
        for _ in 0..20 {
            assert!(is_followed(&client.get(&format!("/l/{slug}"))));
            followed += 1;
        }

        serving.signal(Signal::KILL);
        drop(serving);

        let next = kept_in(&file);
        assert_eq!(hits(&next, &slug), followed);
        daemon = Some(next);
    }
}

#[test]
fn a_relaxed_store_loses_nothing_when_the_daemon_is_terminated() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("links.redb");
    let relaxed = format!("[store.default]\nurl = \"redb:{}\"\ndurability = \"relaxed\"\n", file.display());
    let start = || shortener("stores = [\"default\"]", &relaxed).start();
    let mut daemon = start();
    let slug = add(&mut daemon.client());
    for followed in 1..=3 {
        assert!(is_followed(&daemon.get(&format!("/l/{slug}"))));

        let ended = daemon.terminate();

        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        daemon = start();
        assert_eq!(hits(&daemon, &slug), followed);
    }
}

#[test]
fn links_keep_to_their_contract() {
    let daemon = shortener("stores = [\"default\"]", "[store.default]\nurl = \"memory:\"\n").start();
    let mut client = daemon.client();
    let mut post =
        |kind: &str, body: &str| client.submit("POST", "/links", &format!("{kind}\r\n"), body.as_bytes());
    let json = "Content-Type: application/json";

    let made = post(json, r#"{"url": "https://example.org/?a=b&c"}"#);
    let slug = made.field("location").unwrap().strip_prefix("/links/").unwrap().to_owned();
    assert_eq!((made.status(), made.text()), (201, format!("{{\"slug\":\"{slug}\"}}\n").as_str()));
    for (kind, body, status) in [
        (json, r#"{"url": "ftp://example.org/"}"#, 422),
        (json, r#"{"url": "https://example.org/a b"}"#, 422),
        (json, r#"{"link": "https://example.org/"}"#, 400),
        (json, "https://example.org/", 400),
        ("Content-Type: text/plain", r#"{"url": "https://example.org/"}"#, 415),
        ("Content-Type: application/x-www-form-urlencoded", "url=https%3A%2F%2Fexample.org%2Fform", 303),
    ] {
        assert_eq!(post(kind, body).status(), status, "{body}");
    }
    let other = post(json, r#"{"url": "https://example.org/?a=b&c"}"#);
    assert_ne!(other.field("location"), made.field("location"), "each link counts for itself");

    let followed = daemon.get(&format!("/l/{slug}"));
    assert_eq!((followed.status(), followed.field("location")), (302, Some("https://example.org/?a=b&c")));
    assert_eq!(daemon.client().ask("HEAD", &format!("/l/{slug}"), "").status(), 302, "and is not counted");
    let shown = daemon.get(&format!("/links/{slug}"));
    let shown: Value = serde_json::from_slice(&shown.body).unwrap();
    assert_eq!(shown, json!({ "url": "https://example.org/?a=b&c", "hits": 1 }));
    for target in ["/l/23456789", "/links/23456789", "/l/x", "/links/hits"] {
        assert_eq!(daemon.get(target).status(), 404, "{target}");
    }
    let page = daemon.get("/links");
    let row = format!("<a href=\"/l/{slug}\">/l/{slug}</a><td>https://example.org/?a=b&amp;c<td>1\n");
    assert!(
        page.text().contains(&row) && page.text().contains("https://example.org/form"),
        "{}",
        page.text()
    );
}

#[test]
fn a_page_of_links_begins_behind_a_link() {
    let daemon = shortener("stores = [\"default\"]", "[store.default]\nurl = \"memory:\"\n").start();
    let slug = add(&mut daemon.client());

    assert_eq!(daemon.get(&format!("/links?after=link/{slug}")).status(), 200);
    assert_eq!(daemon.get("/links?after=").status(), 200);
    for after in ["x".repeat(600), "link/x".to_owned(), slug] {
        assert_eq!(daemon.get(&format!("/links?after={after}")).status(), 400, "{after}");
    }
}

#[test]
fn a_link_is_followed_although_a_full_store_cannot_count() {
    let store = "[store.default]\nurl = \"memory:\"\nquota = \"64KiB\"\n";
    let daemon = shortener("stores = [\"default\"]", store).start();
    let mut client = daemon.client();
    let add = |_| {
        let made = client.submit("POST", "/links", "", br#"{"url": "https://example.org/"}"#);
        (made.status() != 507).then(|| made.field("location").unwrap().replace("/links/", ""))
    };
    let slugs: Vec<String> = (0..1000).map_while(add).collect();

    // What is left is less than a link takes: room for one count at most.
    let followed = slugs[..2].iter().all(|slug| is_followed(&daemon.get(&format!("/l/{slug}"))));

    assert!(followed && slugs.len() < 1000);
    assert!(hits(&daemon, &slugs[0]) + hits(&daemon, &slugs[1]) <= 1);
    daemon.log.line("is not counted: ");
}

#[test]
fn a_store_that_is_not_granted_is_denied() {
    let daemon = shortener("", "").start();

    assert_eq!(daemon.get("/links").status(), 500);

    daemon.log.line("store \"default\" is not granted: add it to handler.links.stores");
}

#[test]
fn a_store_under_another_name_is_the_same_store() {
    let stores = "[store.carts]\nurl = \"memory:\"\n";
    let daemon = shortener("stores = { default = \"carts\" }", stores)
        .handler(
            "other",
            "stores = { default = \"carts\" }",
            &fs::read(handlers().join("links.wasm")).unwrap(),
        )
        .start();

    let slug = add(&mut daemon.client());

    assert!(daemon.get("/other").text().contains(&slug), "the page of the other handler lists it");
}

#[test]
fn a_damaged_store_is_refused_with_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("links.redb");
    fs::write(&file, vec![b'x'; 10_000]).unwrap();

    let stores = format!("[store.default]\nurl = \"redb:{}\"\n", file.display());
    let ended = shortener("stores = [\"default\"]", &stores).fail();

    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("store \"default\"") && ended.stderr.contains("move it away"),
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read(&file).unwrap(), vec![b'x'; 10_000], "it is left as it was");
}

/// Runs the guest "stores" in one of its builds, and returns what it prints.
fn guest(file: &str, verb: &str) -> (Daemon, String) {
    let module = fs::read(guests().join(file)).unwrap();
    let settings = format!(
        "output = \"raw\"\nargs = [{verb:?}]\nenv = {{ GREETING = \"hi\" }}\nstores = [\"default\"]\n\
         [store.default]\nurl = \"redb:guest.redb\"\n"
    );
    let daemon = Setup::one(&settings, &module).start();
    let answer = daemon.get("/");
    let text = answer.text().to_owned();
    (daemon, text)
}

#[test]
fn a_program_uses_every_operation() {
    let (_daemon, text) = guest("stores.wasm", "sdk");

    let wanted = "updated 10\nsum 15\ncreated false true\nmany [Some(100000), None, Some(0)]\nlarge true\n\
        page Page { keys: [\"a\", \"b\"], cursor: Some(\"b\") }\nkeys [\"a\", \"b\", \"m\", \"n\"]\ndeleted true false\n\
        Err(Invalid: store default: a key has at least one byte)\n\
        Some(AccessDenied: store \"other\" is not granted: add it to handler.one.stores in the configuration)\n";
    assert_eq!(text, wanted);
}

#[test]
fn a_component_of_the_first_draft_uses_a_store() {
    let (_daemon, text) = guest("stores-wasip2.wasm", "draft");

    let wanted = "sum 42\nkeys [\"draft/n\"] more false\nexists true false\nget None\ndenied Some(Error::AccessDenied)\n";
    assert_eq!(text, wanted);
}

#[test]
fn a_component_of_the_second_draft_swaps_and_has_settings_and_a_log() {
    let (daemon, text) = guest("stores-wasip2.wasm", "draft2");

    let wanted = "sum -2\ncurrent Some(Ok(\"-2\"))\ncurrent Some(Ok(\"7\"))\nswapped true\n\
        many [(\"new/b\", Some([120])), (\"none\", None), (\"new/n\", Some([119, 111, 110]))]\n\
        config Some(\"hi\") None\n";
    assert_eq!(text, wanted);
    daemon.log.line("warn guest: a message");
}

#[test]
fn a_component_lists_more_keys_than_a_page_has_by_both_drafts() {
    let (_daemon, text) = guest("stores-wasip2.wasm", "pages");

    let wanted = "value Some([255, 0])\nnew 1000 Some(\"0000\") Some(\"0999\")\nnew 100 Some(\"1000\") Some(\"1099\")\n\
        old 1000 Some(\"0000\") Some(\"0999\")\nold 100 Some(\"1000\") Some(\"1099\")\n\
        Some(Error::Other(\"invalid: there is no such cursor: begin the listing again\")) Some(Error::AccessDenied)\n";
    assert_eq!(text, wanted);
}

#[test]
fn a_component_has_its_variables_and_secrets_by_both_versions_of_their_interface() {
    let module = fs::read(guests().join("stores-wasip2.wasm")).unwrap();
    let settings = "output = \"raw\"\nargs = [\"settings\"]\nenv = { GREETING = \"hi\" }\n\
                    secrets = { KEY = { env = \"OUTSIDE\" } }";
    let daemon = Setup::one(settings, &module).env("OUTSIDE", "s3cret").start();

    let line = "Some(\"s3cret\") Some(None) [(\"GREETING\", \"hi\"), (\"KEY\", \"s3cret\")]\n";
    assert_eq!(daemon.get("/").text(), line.repeat(2));
}

/// Stores a value of 990,000 bytes, reads it three times at once, and prints the last error. Its memory has 1.25 MiB.
const LARGE: &str = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "portcullis_store_v1" "open" (func $open (param i32 i32) (result i32)))
        (import "portcullis_store_v1" "set"
            (func $set (param i32 i32 i32 i32 i32 i64 i32 i64 i32) (result i32)))
        (import "portcullis_store_v1" "get_many" (func $get_many (param i32 i32 i32) (result i32)))
        (import "portcullis_store_v1" "error" (func $error (param i32 i32) (result i32)))
        (memory (export "memory") 20)
        (data (i32.const 0) "default")
        (data (i32.const 16) "k")
        (data (i32.const 32) "\01\00\00\00k\01\00\00\00k\01\00\00\00k")
        (func (export "_start") (local $store i32)
            (local.set $store (call $open (i32.const 0) (i32.const 7)))
            (drop (call $set (local.get $store) (i32.const 16) (i32.const 1)
                (i32.const 1024) (i32.const 990000) (i64.const 0) (i32.const 0) (i64.const 0) (i32.const 64)))
            (drop (call $get_many (local.get $store) (i32.const 32) (i32.const 15)))
            (i32.store (i32.const 72) (i32.const 256))
            (i32.store (i32.const 76) (call $error (i32.const 256) (i32.const 512)))
            (drop (call $write (i32.const 1) (i32.const 72) (i32.const 1) (i32.const 80)))))"#;

fn last_error_with(memory: &str) -> String {
    let settings = format!(
        "output = \"raw\"\nlimits.memory = {memory:?}\nstores = [\"default\"]\n\
         [store.default]\nurl = \"memory:\"\n"
    );
    let daemon = Setup::one(&settings, &wat::parse_str(LARGE).unwrap()).start();
    daemon.get("/").text().to_owned()
}

#[test]
fn a_result_that_is_not_taken_counts_as_memory_of_the_job() {
    let told = last_error_with("3MiB");
    assert!(told.starts_with("too_many: the job has no memory for the 2970"), "{told}");
    assert_eq!(last_error_with("5MiB"), "");
}

#[test]
fn a_write_that_waits_counts_as_memory_of_the_job() {
    let told = last_error_with("2MiB");
    assert!(told.starts_with("too_many: the job has no memory for the 990000 bytes"), "{told}");
}

#[test]
fn a_store_and_a_database_without_a_table_are_files_of_the_state_directory() {
    let state = tempfile::tempdir().unwrap();
    let sql = fs::read(guests().join("sql.wasm")).unwrap();
    let settings = "output = \"raw\"\nargs = [\"plain\"]\ndatabases = { main = \"default\" }";
    let start = || {
        let setup = shortener("stores = [\"default\"]", "").handler("plain", settings, &sql);
        setup.env("STATE_DIRECTORY", state.path()).start()
    };
    let mut first = start();
    let slug = add(&mut first.client());
    assert!(is_followed(&first.get(&format!("/l/{slug}"))));
    assert_eq!(first.get("/plain").text(), "[\"one\"]\n");
    assert_eq!(first.terminate().code, Some(0));

    // The configuration is in another directory, and the state is the service's.
    let second = start();

    assert_eq!(hits(&second, &slug), 1);
    for (file, mode) in [("stores", 0o700), ("stores/default.redb", 0o600), ("stores/default.sqlite", 0o600)]
    {
        let found = fs::metadata(state.path().join(file)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{file}");
    }
}

#[test]
fn operations_of_a_store_are_counted() {
    let stores = "[store.default]\nurl = \"memory:\"\n";
    let daemon =
        shortener("stores = [\"default\"]", stores).prepend("admin = \"unix://admin.sock\"\n").start();
    add(&mut daemon.client());

    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let metrics = client.response().text().to_owned();

    let wanted = "portcullis_store_operations_total{store=\"default\",operation=\"swap\",end=\"ok\"} 1\n";
    assert!(
        metrics.contains(wanted) && metrics.contains("portcullis_store_open{store=\"default\"} 1\n"),
        "{metrics}"
    );
}
