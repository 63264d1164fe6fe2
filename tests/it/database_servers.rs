//! Databases on a PostgreSQL server: what handlers keep there, however their jobs end, and what operators see.

use std::fs;

use crate::databases::{SHORT, ask, serve, sql, told};
use crate::harness::{Daemon, DatabaseServer, Setup};

/// Serves the guest "sql" under a name for each verb, with one connection and a first migration.
fn serving(server: &DatabaseServer, verbs: &[&str]) -> Daemon {
    let setup = Setup::new(&format!(
        "admin = \"unix://admin.sock\"\n\
         [database.app]\nurl = \"{}\"\nconnections = 1\nmigrations = \"steps\"\n",
        server.url()
    ));
    fs::create_dir(setup.path("steps")).unwrap();
    let first = b"create table users (name text);\ninsert into users values ('ada');\n";
    serve(setup.file("steps/0001_users.sql", first), verbs, SHORT)
}

#[test]
fn a_job_that_ends_in_a_transaction_on_a_server_leaves_nothing_and_no_lock() {
    let Some(server) = DatabaseServer::start() else { return };
    let daemon = serving(&server, &["exit", "trap", "spin", "query", "plain"]);
    assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n");

    for (end, status) in [("exit", 502), ("trap", 502), ("spin", 504), ("query", 504)] {
        assert_eq!(daemon.get(&format!("/{end}")).status(), status, "{end}");
        assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n", "after {end}");
    }
    let mut client = daemon.client();
    client.send("GET /spin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    drop(client);
    // There is one connection: the next job has it when the first has been rolled back.
    assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n", "after its client");
}

#[test]
fn the_text_of_a_server_forges_no_line_of_the_log() {
    let Some(server) = DatabaseServer::start() else { return };
    let daemon = serving(&server, &["users"]);
    let raise = "do $$ begin raise exception using errcode = '53300', message = E'gone\\nforged'; end $$";

    let failed = sql(&daemon, &["app", raise]);

    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    daemon.log.line("database \"app\": the database cannot be reached: gone\\nforged");
}

#[test]
fn migrations_of_a_server_are_applied_up_to_the_one_that_fails() {
    let Some(server) = DatabaseServer::start() else { return };
    let daemon = serving(&server, &["users"]);
    assert_eq!(daemon.get("/users").text(), "[\"ada\"]\n");
    fs::write(daemon.path("steps/0002_more.sql"), "insert into users values ('bob');").unwrap();
    let wrong = "insert into users values ('eve'); insert into nowhere values (1);";
    fs::write(daemon.path("steps/0010_wrong.sql"), wrong).unwrap();

    let planned = told(&ask(&daemon, "plan"));
    for file in ["0002_more.sql", "0010_wrong.sql"] {
        assert!(planned.contains(&format!("+ migration of app: {file}")), "{planned}");
    }
    assert_eq!(daemon.get("/users").text(), "[\"ada\"]\n", "nothing is applied yet");
    let refused = ask(&daemon, "reload");
    assert!(refused.stderr.contains("0010_wrong.sql is not applied"), "{}", refused.stderr);
    assert_eq!(daemon.get("/users").text(), "[\"ada\", \"bob\"]\n");

    let asked =
        sql(&daemon, &["app", "select count(*) as n, null as none, 1.50 as price, true as yes from users"]);
    assert_eq!(told(&asked), "n  none  price  yes\n2  -     1.50   1\n", "{}", asked.stderr);
    let copy = daemon.path("copy.sqlite");
    for (words, why) in [
        (&["app", "copy users to stdout"][..], "COPY is not allowed"),
        (&["app", "--backup", copy.to_str().unwrap()][..], "use pg_dump"),
    ] {
        let refused = sql(&daemon, words);
        assert!(refused.code == Some(1) && refused.stderr.contains(why), "{}", refused.stderr);
    }
    assert!(!copy.exists());
    assert_eq!(told(&sql(&daemon, &["app", "select 7 as n"])), "n\n7\n", "on the same connection");
}
