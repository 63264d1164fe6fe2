//! Scheduled handlers: punctual, never overlapping, visible, replaceable and drained.

use std::time::Duration;

use crate::harness::{Client, Daemon, Program, Response, Setup, until};

/// Every second, the shortest interval of a schedule.
const OFTEN: &str = "schedule = \"* * * * * *\"";

/// A handler without a route.
fn private(setup: Setup, name: &str, settings: &str, module: &[u8]) -> Setup {
    setup
        .add(&format!("\n[handler.{name}]\nmodule = \"{name}.wasm\"\n{settings}\n"))
        .file(&format!("{name}.wasm"), module)
}

fn setup() -> Setup {
    Setup::new("admin = \"unix://admin.sock\"\n")
}

fn ask(daemon: &Daemon, call: &str) -> Response {
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send(
        format!("POST /jobs/{call} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").as_bytes(),
    );
    client.response()
}

fn handler(daemon: &Daemon, name: &str) -> serde_json::Value {
    let handlers: serde_json::Value = serde_json::from_slice(&ask(daemon, "handlers").body).unwrap();
    handlers.as_array().unwrap().iter().find(|handler| handler["name"] == name).unwrap().clone()
}

#[test]
fn a_handler_runs_when_its_time_comes_with_what_its_schedule_says() {
    let tidy = Program::new().say("from stdout\n").echo().environment();
    let settings = "schedule = { cron = \"* * * * * *\", args = [\"--all\"], stdin = \"from stdin\\n\" }";
    let daemon = private(setup(), "tidy", settings, &tidy.wasm()).start();

    daemon.log.line("tidy: from stdout");
    daemon.log.line("tidy: from stdin");
    daemon.log.line("SCHEDULED_FOR=2");
    daemon.log.lines(3, "tidy: from stdout");
    let shown = handler(&daemon, "tidy");
    assert_eq!(shown["private"], true);
    assert_eq!(shown["schedule"]["cron"], "* * * * * *");
    assert!(shown["schedule"]["next"].as_str().unwrap().ends_with('Z'), "{shown}");
    assert!(shown["schedule"]["runs"].as_u64().unwrap() >= 2, "{shown}");
    // A scheduled run does not count as a request.
    assert_eq!(shown["requests"], 0, "{shown}");
    assert!(daemon.metric("portcullis_scheduled_runs_total", &["handler=\"tidy\""]) >= 2.0);
    assert_eq!(daemon.metric("portcullis_requests_total", &["handler=\"tidy\""]), 0.0);
}

#[test]
fn a_run_that_goes_on_makes_the_next_one_missed_unless_they_may_overlap() {
    let slow = Program::new().complain("begun\n").sleep_for_ever().wasm();
    let overlap = "schedule = { cron = \"* * * * * *\", overlap = true }";
    let setup = private(setup(), "alone", OFTEN, &slow);
    let daemon = private(setup, "crowd", overlap, &slow).start();

    daemon.log.lines(2, "crowd: begun");
    daemon.log.lines(2, "alone: a scheduled run is missed: the previous one still runs");

    assert_eq!(daemon.log.count("alone: begun"), 1);
    until("missed runs are counted", || {
        (handler(&daemon, "alone")["schedule"]["missed"].as_u64()? >= 2).then_some(())
    });
    assert_eq!(handler(&daemon, "crowd")["schedule"]["missed"], 0);
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(client.response().text().contains("portcullis_schedule_missed_total{handler=\"alone\""));
}

#[test]
fn a_run_that_fails_is_logged_and_the_next_one_comes() {
    let fails = Program::new().complain("no disk\n").exit(3).wasm();
    let daemon = private(setup(), "tidy", OFTEN, &fails).start();

    let lines = daemon.log.lines(2, "ended with exit status 3: no disk");

    assert!(lines[0].contains("WARN") && lines[0].contains("tidy@"), "{}", lines[0]);
    assert!(handler(&daemon, "tidy")["schedule"]["failed"].as_u64().unwrap() >= 1);
}

#[test]
fn a_reload_replaces_the_schedule_and_a_swap_the_version() {
    let daemon = private(setup(), "tidy", OFTEN, &Program::new().complain("one\n").wasm()).start();
    daemon.log.line("tidy: one");
    let config = std::fs::read_to_string(daemon.path("portcullis.toml")).unwrap();

    std::fs::write(daemon.path("tidy.wasm"), Program::new().complain("two\n").wasm()).unwrap();
    assert_eq!(ask(&daemon, "reload").status(), 200);
    daemon.log.lines(2, "tidy: two");
    std::fs::write(daemon.path("portcullis.toml"), config.replace("* * * * * *", "0 0 1 1 *")).unwrap();
    let told = ask(&daemon, "reload");

    assert!(told.text().contains("schedule * * * * * *"), "{}", told.text());
    let next = handler(&daemon, "tidy")["schedule"]["next"].as_str().unwrap().to_owned();
    assert!(next.ends_with("-01-01T00:00:00Z"), "{next}");
}

#[test]
fn a_drain_waits_for_what_runs_and_starts_nothing() {
    let slow = Program::new().complain("begun\n").sleep(Duration::from_millis(2500)).complain("finished\n");
    let mut daemon = private(setup(), "tidy", OFTEN, &slow.wasm()).start();
    daemon.log.line("tidy: begun");

    let ended = daemon.terminate();

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!((daemon.log.count("begun"), daemon.log.count("finished")), (1, 1), "{}", ended.stderr);
}

#[test]
fn a_schedule_does_not_go_with_an_end_when_idle() {
    let setup = Setup::new("idle_exit = \"5m\"\nlisten = [\"fd://\"]\n").host("fd://");
    let ended = private(setup, "tidy", OFTEN, &Program::new().wasm()).fail();

    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("handler.tidy.schedule: cannot be combined with idle_exit"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_private_handler_is_reached_by_operators_and_by_no_route() {
    let daemon = private(setup(), "inner", "", &Program::text().say("here").wasm()).start();

    assert_eq!(daemon.get("/inner").status(), 404);
    assert!(ask(&daemon, "inner").text().ends_with("here"));
    assert_eq!(handler(&daemon, "inner")["private"], true);
}

#[test]
fn what_counts_scheduled_runs_is_shown_of_handlers_with_a_schedule_alone() {
    let module = Program::new().wasm();
    let without = setup().handler("plain", "", &module).start();
    let unscheduled = without.metrics();

    let daemon = private(setup().handler("plain", "", &module), "often", OFTEN, &module).start();
    let metrics = daemon.metrics();
    let lines: Vec<&str> = metrics.lines().filter(|line| line.starts_with("portcullis_schedule")).collect();
    assert_eq!(lines.len(), 4, "{metrics}");
    assert!(!unscheduled.contains("portcullis_schedule"), "{unscheduled}");
    assert!(lines.iter().all(|line| line.contains("handler=\"often\"")), "{lines:?}");
}
