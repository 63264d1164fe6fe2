//! Databases: what handlers keep in tables, however their jobs end.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Client, Daemon, Ended, PATIENCE, Setup, finish, guests, portcullis};

/// The table of a database with one connection.
const APP: &str = "[database.app]\nurl = \"sqlite:data/app.sqlite\"\nconnections = 1\n";

/// The time limit of jobs that do not end by themselves.
pub(crate) const SHORT: &str = "limits.time = \"2s\"";

/// The verbs of these jobs. Other jobs end by themselves, however long that takes on a busy machine.
const ENDLESS: [&str; 2] = ["spin", "query"];

/// Serves the guest "sql" under a name for each verb. Each handler has the settings `more`, but [`SHORT`] only where it
/// is needed.
pub(crate) fn serve(setup: Setup, verbs: &[&str], more: &str) -> Daemon {
    let module = fs::read(guests().join("sql.wasm")).unwrap();
    let settings = |verb: &str| {
        let more = if ENDLESS.contains(&verb) { more.to_owned() } else { more.replace(SHORT, "") };
        format!("output = \"raw\"\nargs = [{verb:?}]\ndatabases = {{ main = \"app\" }}\n{more}")
    };
    verbs.iter().fold(setup, |setup, verb| setup.handler(verb, &settings(verb), &module)).start()
}

#[test]
fn a_program_uses_a_database() {
    let daemon = serve(Setup::new(APP), &["sdk"], SHORT);

    let wanted = "added 1\nrows [(1, 4, Some(0.5)), (2, 200000, None)]\nmoved [12]\nfailed Err(Constraint)\nkept [2]\n\
        Err(NotAllowed: database main: ATTACH and VACUUM are not allowed)\n\
        Some(AccessDenied: database \"other\" is not granted: add it to handler.sdk.databases in the configuration)\n";
    assert_eq!(daemon.get("/sdk").text(), wanted);
}

#[test]
fn a_component_of_spin_uses_a_database() {
    let module = fs::read(guests().join("sql-wasip2.wasm")).unwrap();
    let settings = "output = \"raw\"\ndatabases = { main = \"app\" }";
    let config = "[database.app]\nurl = \"sqlite:app.sqlite\"\nconnections = 1\n";
    let daemon = Setup::new(config).handler("one", settings, &module).start();

    let first = daemon.get("/one").text().to_owned();
    let second = daemon.get("/one").text().to_owned();

    let wanted = "id 2 changes 2\n[\"word\", \"id\", \"0.5\"] \
        [RowResult { values: [Value::Text(\"a\"), Value::Integer(1), Value::Real(0.5)] }, \
        RowResult { values: [Value::Null, Value::Integer(2), Value::Real(0.5)] }]\n\
        Some(Error::AccessDenied)\n\
        Some(Error::Io(\"not_allowed: database main: ATTACH and VACUUM are not allowed\"))\n\
        [RowResult { values: [Value::Integer(1)] }]\n";
    assert_eq!(first, wanted);
    assert!(second.starts_with("id 4 changes 2\n"), "the rows of the first job are there: {second}");
}

#[test]
fn a_job_that_ends_in_a_transaction_leaves_nothing_and_no_lock() {
    let daemon = serve(Setup::new(APP), &["exit", "trap", "spin", "query", "plain"], SHORT);
    assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n");

    for (end, status) in [("exit", 502), ("trap", 502), ("spin", 504), ("query", 504)] {
        assert_eq!(daemon.get(&format!("/{end}")).status(), status, "{end}");
        assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n", "after {end}");
    }
}

#[test]
fn a_job_whose_file_threads_see_only_its_mounts_has_a_new_connection() {
    let setup = Setup::new(&format!("scratch = \"scratch\"\n{APP}"));
    let daemon = serve(setup, &["plain", "query"], &format!("{SHORT}\ntmp = \"1MiB\""));
    assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n");

    // The thread of a connection that has computed for long ends with its job.
    assert_eq!(daemon.get("/query").status(), 504);

    assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n");
}

#[test]
fn statements_count_for_the_processor_time_and_the_memory_of_their_job() {
    let module = fs::read(guests().join("sql.wasm")).unwrap();
    let settings = |verb: &str, limits: &str| {
        format!(
            "output = \"raw\"\nargs = [{verb:?}]\ndatabases = {{ main = \"app\" }}\nlimits = {{ {limits} }}"
        )
    };
    let daemon = Setup::new("reason_header = true\n[database.app]\nurl = \"sqlite:app.sqlite\"\n")
        .handler("queries", &settings("queries", "time = \"none\", cpu = \"300ms\""), &module)
        .handler("large", &settings("large", "memory = \"4MiB\""), &module)
        .start();

    // Jobs that compute for long have low priority: on a busy machine this takes many seconds by the clock.
    let queries = daemon.client().patient(PATIENCE * 5).get("/queries");
    let large = daemon.get("/large").text().to_owned();

    assert_eq!((queries.status(), queries.field("x-portcullis-reason")), (504, Some("cpu_limit")));
    let refused = "Some(TooMany: the job has no memory for the 5400";
    assert!(large.starts_with(refused) && large.ends_with("\n[1]\n"), "{large}");
}

#[test]
fn a_client_that_leaves_takes_its_transaction_along() {
    let daemon = serve(Setup::new(APP), &["spin", "plain"], SHORT);

    let mut client = daemon.client();
    client.send("GET /spin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    drop(client);

    // There is one connection: the next job has it when the first has been rolled back.
    assert_eq!(daemon.get("/plain").text(), "[\"one\"]\n");
}

#[test]
fn an_open_transaction_ends_with_its_job_that_is_killed_and_with_the_daemon() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("app.sqlite");
    let config = format!(
        "admin = \"unix://admin.sock\"\ngrace = \"500ms\"\n\
         [database.app]\nurl = \"sqlite:{}\"\nconnections = 1\n",
        file.display()
    );
    let start =
        || serve(Setup::new(&config), &["spin", "plain"], "limits = { time = \"120s\", cpu = \"120s\" }");
    // With a row that is not committed.
    let begin = |daemon: &Daemon| {
        let mut client = daemon.client();
        client.send("GET /spin HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let labels = ["operation=\"statement\"", "end=\"ok\""];
        daemon.counted("portcullis_database_operations_total", &labels, 2.0);
        client
    };
    let plain = |daemon: &Daemon| daemon.get("/plain").text().to_owned();

    let mut daemon = start();
    let _client = begin(&daemon);
    let jobs: Value = serde_json::from_slice(&daemon.verb(&["jobs", "--json"]).stdout).unwrap();
    let job = jobs.as_array().unwrap().iter().find(|job| job["handler"] == "spin").expect("it runs");
    assert_eq!(daemon.verb(&["kill", job["id"].as_str().unwrap()]).code, Some(0));
    assert_eq!(plain(&daemon), "[\"one\"]\n", "after a kill");

    for signal in [Signal::TERM, Signal::KILL] {
        daemon = start();
        let _client = begin(&daemon);
        daemon.signal(signal);
        if signal == Signal::TERM {
            daemon.wait(PATIENCE);
        }
        drop(daemon);
        daemon = start();
        assert_eq!(plain(&daemon), "[\"one\"]\n", "after {signal:?}");
    }
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

pub(crate) fn ask(daemon: &Daemon, verb: &str) -> Ended {
    let mut command = portcullis();
    command.arg(verb).arg("-c").arg(daemon.path("portcullis.toml"));
    if verb == "plan" {
        command.arg("--socket").arg(daemon.path("admin.sock"));
    }
    finish(&mut command, b"", PATIENCE)
}

pub(crate) fn told(ended: &Ended) -> String {
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// Serves a handler that lists the users, whose table and first row come with a migration.
fn users() -> Daemon {
    let module = fs::read(guests().join("sql.wasm")).unwrap();
    let config = "admin = \"unix://admin.sock\"\n[database.app]\nurl = \"sqlite:app.sqlite\"\nmigrations = \"steps\"\n";
    let settings = "output = \"raw\"\nargs = [\"users\"]\ndatabases = { main = \"app\" }";
    let setup = Setup::new(config).handler("users", settings, &module);
    fs::create_dir(setup.path("steps")).unwrap();
    let first = b"create table users (name text);\ninsert into users values ('ada');\n";
    setup.file("steps/0001_users.sql", first).start()
}

#[test]
fn migrations_are_a_part_of_start_and_reload() {
    let daemon = users();
    assert_eq!(daemon.get("/users").text(), "[\"ada\"]\n");
    fs::write(daemon.path("steps/0002_more.sql"), "insert into users values ('bob');").unwrap();

    let (planned, checked) = (ask(&daemon, "plan"), ask(&daemon, "check"));
    assert!(told(&planned).contains("+ migration of app: 0002_more.sql"), "{}", planned.stderr);
    assert!(told(&checked).contains("would apply the migration app: 0002_more.sql"), "{}", checked.stderr);
    assert_eq!(daemon.get("/users").text(), "[\"ada\"]\n", "nothing is applied yet");

    let reloaded = ask(&daemon, "reload");
    assert!(told(&reloaded).contains("+ migration of app: 0002_more.sql"), "{}", reloaded.stderr);
    assert_eq!(daemon.get("/users").text(), "[\"ada\", \"bob\"]\n");
}

#[test]
fn a_migration_that_fails_or_has_changed_is_refused() {
    let daemon = users();
    let wrong = "insert into users values ('eve');\ninsert into nowhere values (1);";
    fs::write(daemon.path("steps/0002_wrong.sql"), wrong).unwrap();

    let refused = ask(&daemon, "reload");
    assert!(
        refused.stderr.contains("0002_wrong.sql is not applied: no such table: nowhere"),
        "{}",
        refused.stderr
    );

    fs::remove_file(daemon.path("steps/0002_wrong.sql")).unwrap();
    fs::write(daemon.path("steps/0001_users.sql"), "create table users (name text);").unwrap();
    for verb in ["plan", "check", "reload"] {
        let refused = ask(&daemon, verb);
        let why = "0001_users.sql is applied, and its file has changed";
        assert!(refused.stderr.contains(why), "{verb}: {}", refused.stderr);
    }
    assert_eq!(daemon.get("/users").text(), "[\"ada\"]\n");
}

pub(crate) fn sql(daemon: &Daemon, args: &[&str]) -> Ended {
    let mut command = portcullis();
    command.arg("sql").args(args).arg("--socket").arg(daemon.path("admin.sock"));
    finish(&mut command, b"select count(*) as n from users", PATIENCE)
}

#[test]
fn an_operator_runs_statements_and_saves_a_copy() {
    let daemon = users();

    let asked = sql(&daemon, &["app", "select name, null as more, 7 as n from users"]);
    assert_eq!(told(&asked), "name  more  n\nada   -     7\n", "{}", asked.stderr);
    let endless = sql(&daemon, &["app", "select 9e999 as n, -9e999 as m"]);
    assert_eq!(told(&endless), "n    m\ninf  -inf\n", "{}", endless.stderr);
    let changed = sql(&daemon, &["app", "insert into users values ('bob')"]);
    assert_eq!(told(&changed), "1 row changed\n", "{}", changed.stderr);
    let json = sql(&daemon, &["app", "--json"]);
    assert_eq!(told(&json), "{\"columns\":[\"n\"],\"rows\":[[2]],\"changed\":0}\n", "{}", json.stderr);
    let wrong = sql(&daemon, &["ap", "select 1"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("databases: app"), "{}", wrong.stderr);

    let copy = daemon.path("copy.sqlite");
    // What is left of an earlier copy is replaced, and not followed.
    let elsewhere = daemon.path("elsewhere");
    fs::write(&elsewhere, "kept").unwrap();
    std::os::unix::fs::symlink(&elsewhere, daemon.path("copy.sqlite.part")).unwrap();
    let saved = sql(&daemon, &["app", "--backup", copy.to_str().unwrap()]);

    assert_eq!(saved.code, Some(0), "{}", saved.stderr);
    let bytes = fs::read(&copy).unwrap();
    assert!(bytes.starts_with(b"SQLite format 3\0") && bytes.windows(3).any(|piece| piece == b"bob"));
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept");
    let left = fs::read_dir(daemon.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".backup")));
}

#[test]
fn a_statement_of_an_operator_that_is_too_long_is_no_matter_of_the_limits_of_handlers() {
    let daemon = users();

    let long = sql(&daemon, &["app", &format!("select '{}'", "x".repeat(100_000))]);

    assert_eq!(long.code, Some(1), "{}", told(&long));
    assert!(long.stderr.contains("a statement has 100000 bytes at most: split it"), "{}", long.stderr);
}

#[test]
fn a_database_is_one_whole_file_when_the_daemon_has_ended() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("app.sqlite");
    let module = fs::read(guests().join("sql.wasm")).unwrap();
    let config =
        format!("admin = \"unix://admin.sock\"\n[database.app]\nurl = \"sqlite:{}\"\n", file.display());
    let setup = Setup::new(&config).handler("users", "databases = [\"app\"]", &module);
    let mut daemon = setup.start();
    let made = sql(&daemon, &["app", "create table kept as select 'kept in the file' as name"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);

    let ended = daemon.terminate();

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let left = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["app.sqlite"]);
    assert!(fs::read(&file).unwrap().windows(16).any(|piece| piece == b"kept in the file"));
}

#[test]
fn a_program_that_run_stops_in_a_transaction_gives_its_database_back() {
    let module = fs::read(guests().join("sql.wasm")).unwrap();
    // A job that is stopped at its processor limit has yielded already.
    let limits = "limits = { time = \"2s\", cpu = \"none\" }";
    let settings = format!("args = [\"spin\"]\ndatabases = {{ main = \"app\" }}\n{limits}");
    let setup = Setup::new(APP).handler("spin", &settings, &module);
    let mut command = portcullis();
    command.args(["run", "spin", "-c"]).arg(setup.path("portcullis.toml"));

    let stopped = finish(&mut command, b"", PATIENCE);

    assert_eq!(stopped.code, Some(124), "{}", stopped.stderr);
    // The last connection to a file removes the log of changes.
    let left = fs::read_dir(setup.path("data")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["app.sqlite"]);
}

#[test]
fn a_database_that_cannot_be_reached_is_in_status_and_plan_and_its_password_nowhere() {
    let module = fs::read(guests().join("sql.wasm")).unwrap();
    let config = "admin = \"unix://admin.sock\"\n[database.app]\nurl = \"postgres://ada@127.0.0.1:1/app\"\n\
                  password = { file = \"password\" }\n";
    let setup = Setup::new(config).handler("users", "databases = [\"app\"]", &module);
    let daemon = setup.file("password", b"s3cret\n").start();

    let shown = daemon.verb(&["status"]);

    let shown = told(&shown);
    let wanted = "app postgres://127.0.0.1:1/app, 0 of 8 connections in use: the database cannot be reached";
    assert!(shown.contains(wanted), "{shown}");
    let ended = ask(&daemon, "plan");
    let planned = told(&ended) + &ended.stderr;
    assert!(planned.contains("warning: database \"app\": the database cannot be reached"), "{planned}");
    daemon.log.line("jobs that use it fail until it can be");
    for text in [&shown, &planned, &daemon.log.text()] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn a_database_without_its_password_keeps_the_gate_shut() {
    let module = fs::read(guests().join("sql.wasm")).unwrap();
    let config =
        "[database.app]\nurl = \"postgres://ada@127.0.0.1:1/app\"\npassword = { file = \"nothing\" }\n";

    let ended = Setup::new(config).handler("users", "databases = [\"app\"]", &module).fail();

    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("database.app.password: there is no file"), "{}", ended.stderr);
}

#[test]
fn databases_are_in_status_and_metrics() {
    let daemon = users();
    assert_eq!(daemon.get("/users").status(), 200);

    let shown = daemon.verb(&["status"]);
    assert!(told(&shown).contains("app.sqlite, 0 of 8 connections in use"), "{}", told(&shown));
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let metrics = client.response().text().to_owned();

    let wanted =
        "portcullis_database_operations_total{database=\"app\",operation=\"statement\",end=\"ok\"} 1\n";
    assert!(metrics.contains(wanted), "{metrics}");
}
