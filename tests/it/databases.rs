//! Databases: what handlers keep in tables, however their jobs end.

use std::fs;

use crate::harness::{Daemon, Setup, guests};

/// Serves the guest "sql" under a name for each verb, with one database.
fn serve(verbs: &[&str]) -> Daemon {
    let module = fs::read(guests().join("sql.wasm")).unwrap();
    let settings = |verb: &str| {
        format!("output = \"raw\"\nargs = [{verb:?}]\ndatabases = {{ main = \"app\" }}\nlimits.time = \"2s\"")
    };
    let setup = Setup::new("[database.app]\nurl = \"sqlite:data/app.sqlite\"\nconnections = 1\n");
    verbs.iter().fold(setup, |setup, verb| setup.handler(verb, &settings(verb), &module)).start()
}

#[test]
fn a_program_uses_a_database() {
    let daemon = serve(&["sdk"]);

    let wanted = "added 1\nrows [(1, 4, Some(0.5)), (2, 200000, None)]\nmoved [12]\nfailed Err(Constraint)\nkept [2]\n\
        Err(NotAllowed: database main: ATTACH and VACUUM are not allowed)\n\
        Some(AccessDenied: database \"other\" is not granted: add it to handler.sdk.databases in the configuration)\n";
    assert_eq!(daemon.get("/sdk").text(), wanted);
}

#[test]
fn a_job_that_ends_in_a_transaction_leaves_nothing_and_no_lock() {
    let daemon = serve(&["exit", "trap", "spin", "query", "plain"]);
    assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n");

    for (end, status) in [("exit", 502), ("trap", 502), ("spin", 504), ("query", 504)] {
        assert_eq!(daemon.get(&format!("/{end}")).status(), status, "{end}");
        assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n", "after {end}");
    }
}

#[test]
fn a_client_that_leaves_takes_its_transaction_along() {
    let daemon = serve(&["spin", "plain"]);

    let mut client = daemon.client();
    client.send("GET /spin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    drop(client);

    // There is one connection: the next job has it when the first has been rolled back.
    assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n");
}

#[test]
fn a_damaged_database_is_refused_with_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("app.sqlite");
    fs::write(&file, vec![b'x'; 10_000]).unwrap();
    let module = fs::read(guests().join("sql.wasm")).unwrap();
    let config = format!("[database.app]\nurl = \"sqlite:{}\"\n", file.display());

    let ended = Setup::new(&config).handler("one", "databases = [\"app\"]", &module).fail();

    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("database \"app\"") && ended.stderr.contains("move it away"),
        "{}",
        ended.stderr
    );
}
