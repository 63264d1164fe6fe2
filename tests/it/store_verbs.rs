//! `portcullis store`: what an operator sees of the stores, and changes in them.

use std::fs;

use crate::harness::{Daemon, Ended, PATIENCE, Program, Setup, finish, portcullis};

/// Serves a handler that is granted two stores, one of them under another name.
fn daemon() -> Daemon {
    let module = Program::text().say("hi").wasm();
    let settings = "stores = { default = \"carts\", old = \"kept\" }\n[store.carts]\nurl = \"memory:\"\n\
                    [store.kept]\nurl = \"redb:kept.redb\"\nquota = \"16MiB\"\n[store.spare]\nurl = \"redb:spare.redb\"\n";
    Setup::one(settings, &module).prepend("admin = \"unix://admin.sock\"\n").start()
}

fn run(daemon: &Daemon, words: &[&str], stdin: &[u8]) -> Ended {
    let mut verb = portcullis();
    verb.arg("store").args(words).arg("--socket").arg(daemon.path("admin.sock"));
    finish(&mut verb, stdin, PATIENCE)
}

/// Runs a verb that succeeds, and returns what it prints.
fn store(daemon: &Daemon, words: &[&str], stdin: &[u8]) -> Vec<u8> {
    let ended = run(daemon, words, stdin);
    assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
    ended.stdout
}

/// Runs a verb that fails, and returns its error.
fn refused(daemon: &Daemon, words: &[&str], stdin: &[u8]) -> String {
    let ended = run(daemon, words, stdin);
    assert_eq!(ended.code, Some(1), "{words:?}");
    ended.stderr
}

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn an_operator_reads_and_writes_entries() {
    let daemon = daemon();

    store(&daemon, &["set", "carts", "a/1", "one"], b"");
    store(&daemon, &["set", "carts", "a/2", "--ttl", "1h"], b"\xff\0two\n");
    store(&daemon, &["set", "carts", "b"], b"");

    assert_eq!(store(&daemon, &["get", "carts", "a/1"], b""), b"one");
    assert_eq!(store(&daemon, &["get", "carts", "a/2"], b""), b"\xff\0two\n");
    let found = json(&store(&daemon, &["get", "carts", "a/2", "--json"], b""));
    assert_eq!((&found["value_base64"], &found["key"]), (&"/wB0d28K".into(), &"a/2".into()), "{found}");
    assert!(found["expires"].as_str().unwrap().ends_with('Z'), "{found}");
    assert_eq!(store(&daemon, &["list", "carts", "a/"], b""), b"a/1\na/2\n");
    let page = json(&store(&daemon, &["list", "carts", "--limit", "1", "--after", "a/1", "--json"], b""));
    assert_eq!(page, serde_json::json!({ "keys": ["a/2"], "cursor": "a/2" }));
    assert_eq!(store(&daemon, &["list", "carts", "--limit", "0"], b""), b"");
    assert_eq!(store(&daemon, &["delete", "carts", "a/1", "a/9", "b"], b""), b"deleted 2\n");
    assert_eq!(store(&daemon, &["list", "carts"], b""), b"a/2\n");
}

#[test]
fn a_write_under_a_condition_is_done_or_refused() {
    let daemon = daemon();
    let set = ["set", "kept", "k", "one"];

    let written = json(&store(&daemon, &[&set[..], &["--if-absent", "--json"]].concat(), b""));
    let version = written["version"].to_string();
    let error = refused(&daemon, &[&set[..], &["--if-absent"]].concat(), b"");
    assert!(error.contains(&format!("\"k\" has version {version} now: nothing was written")), "{error}");
    store(&daemon, &["set", "kept", "k", "two", "--if-version", &version], b"");
    refused(&daemon, &["set", "kept", "k", "three", "--if-version", &version], b"");

    assert_eq!(store(&daemon, &["get", "kept", "k"], b""), b"two");
}

#[test]
fn what_cannot_be_done_is_refused_with_what_to_do() {
    let daemon = daemon();

    for (words, wanted) in [
        (&["get", "carts", "none"][..], "\"none\" has no value"),
        (&["get", "cart", "a"][..], "there is no store \"cart\"; stores: carts, kept, spare"),
        (&["set", "carts", "", "x"][..], "a key has at least one byte"),
        (&["load", "carts", "/nowhere/dump"][..], "/nowhere/dump: No such file"),
        (&["load", "carts", "/"][..], "/: wanted a file, found a directory"),
    ] {
        let error = refused(&daemon, words, b"");
        assert!(error.contains(wanted), "{words:?}: {error}");
    }
    let error = refused(&daemon, &["set", "carts", "a"], &vec![b'x'; 1_000_001]);
    assert!(error.contains("a value has 1000000 bytes at most"), "{error}");
    let error = refused(&daemon, &["load", "carts"], &vec![b'x'; 9_000_000]);
    let wanted = "after 0 entries that were loaded: line 1: a line has more than";
    assert!(error.contains(wanted) || error.contains("closed the connection"), "{error}");
}

#[test]
fn a_dump_is_loaded_as_it_was() {
    let daemon = daemon();
    // More than one batch, text and other bytes, some with a time to live.
    for number in 0..300 {
        let line = format!("{{\"key\":\"n/{number:03}\",\"value\":\"{number}\\n\"}}\n");
        let expiring = format!(
            "{{\"key\":\"t/{number:03}\",\"value_base64\":\"/wA=\",\"expires\":\"2099-01-01T00:00:00Z\"}}\n"
        );
        let all = if number % 10 == 0 { line + &expiring } else { line };
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(daemon.path("made"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, all.as_bytes()))
            .unwrap();
    }
    let made = daemon.path("made");
    assert_eq!(store(&daemon, &["load", "carts", made.to_str().unwrap()], b""), b"loaded 330\n");

    let first = store(&daemon, &["dump", "carts"], b"");
    let told = store(&daemon, &["load", "kept", "--json"], &first);
    let second = store(&daemon, &["dump", "kept"], b"");

    assert_eq!(json(&told), serde_json::json!({ "loaded": 330, "expired": 0 }));
    let text = String::from_utf8(first.clone()).unwrap();
    assert_eq!(text.lines().count(), 330);
    assert!(text.starts_with("{\"key\":\"n/000\",\"value\":\"0\\n\"}\n"), "{}", &text[..200]);
    assert!(text.contains("{\"key\":\"t/010\",\"value_base64\":\"/wA=\",\"expires\":\"2099-01-01T00:"));
    // A time to live is counted in milliseconds from the moment of the write.
    let times = |dump: &[u8]| -> Vec<String> {
        let lines = String::from_utf8(dump.to_vec()).unwrap();
        lines.lines().map(|line| line.split(",\"expires\"").next().unwrap().to_owned()).collect()
    };
    assert_eq!(times(&second), times(&first));
    assert_eq!(
        store(&daemon, &["dump", "kept", "t/29"], b"").iter().filter(|byte| **byte == b'\n').count(),
        1
    );
}

#[test]
fn a_dump_with_a_wrong_line_says_which() {
    let daemon = daemon();
    let past = "{\"key\":\"old\",\"value\":\"x\",\"expires\":\"2020-01-01T00:00:00Z\"}\n";

    let told =
        store(&daemon, &["load", "carts"], format!("{past}\n{{\"key\":\"a\",\"value\":\"1\"}}").as_bytes());
    assert_eq!(told, b"loaded 1, 1 had expired\n");
    assert_eq!(store(&daemon, &["list", "carts"], b""), b"a\n");

    let error = refused(&daemon, &["load", "carts"], b"{\"key\":\"b\",\"value\":\"1\"}\n{\"key\":\"c\"}\n");
    assert!(error.contains("line 2") && error.contains("\"value_base64\""), "{error}");
}

#[test]
fn a_mistyped_key_in_a_dump_is_refused_before_its_entry_loses_its_expiry() {
    let daemon = daemon();
    let dump = b"{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"2\",\"expire\":\"2099-01-01T00:00:00Z\"}\n";

    let error = refused(&daemon, &["load", "carts"], dump);

    assert!(error.contains("after 0 entries that were loaded: line 2: "), "{error}");
    assert!(error.contains("unknown key \"expire\"; did you mean \"expires\"?"), "{error}");
    assert_eq!(store(&daemon, &["list", "carts"], b""), b"");
}

#[test]
fn a_value_of_the_wrong_type_in_a_dump_names_no_type_of_the_program() {
    let daemon = daemon();

    let error = refused(&daemon, &["load", "carts"], b"{\"key\":\"a\",\"value\":3}\n");

    assert!(error.contains("line 1: ") && error.contains("a text in quotes for \"value\""), "{error}");
    assert!(!error.contains("StoredValue"), "{error}");
}

#[test]
fn what_get_prints_as_json_is_loaded() {
    let daemon = daemon();
    store(&daemon, &["set", "carts", "a", "one"], b"");

    let printed = store(&daemon, &["get", "carts", "a", "--json"], b"");

    assert_eq!(store(&daemon, &["load", "kept"], &printed), b"loaded 1\n");
    assert_eq!(store(&daemon, &["get", "kept", "a"], b""), b"one");
}

#[test]
fn stores_and_their_users_are_shown() {
    let daemon = daemon();
    store(&daemon, &["set", "carts", "a", "1"], b"");

    let stores = json(&store(&daemon, &["list", "--json"], b""));

    let carts = serde_json::json!({
        "name": "carts", "url": "memory:", "used": 194, "quota": 268_435_456, "error": null,
        "granted": ["one as default"],
    });
    assert_eq!(stores[0], carts);
    assert_eq!((&stores[1]["quota"], &stores[1]["granted"][0]), (&(16 << 20).into(), &"one as old".into()));
    // A store of no handler is not made by looking at it.
    assert_eq!((&stores[2]["name"], &stores[2]["used"]), (&"spare".into(), &serde_json::Value::Null));
    assert!(!daemon.path("spare.redb").exists());
    let table = String::from_utf8(store(&daemon, &["list"], b"")).unwrap();
    assert!(table.contains("carts  194B") && table.contains("one as default"), "{table}");
    let status = String::from_utf8(daemon.verb(&["status"]).stdout).unwrap();
    assert!(status.contains("carts: 194B of 256MiB, memory:"), "{status}");
}
