//! The loopback port: who is let through, to what, and what ends with whom.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Dashboard, bearer};
use crate::harness::{Client, Crowd, Daemon, Program, Setup, until};

fn setup() -> Setup {
    Setup::one("", &Program::text().say("hi").wasm())
        .handler("bad", "record = \"failures\"", &Program::new().complain("why\n").trap().wasm())
        .prepend("admin = \"unix://admin.sock\"\nrecord_dir = \"failures\"\n")
}

/// Listens to jobs as they end, through the dashboard.
fn listen(daemon: &Daemon, dashboard: &Dashboard) -> Client {
    let session = dashboard.session();
    let mut client = Client::tcp(dashboard.port);
    let head = format!("POST /jobs/tap HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{session}", dashboard.port);
    client.send(format!("{head}Accept: text/event-stream\r\n\r\n"));
    until("the listener", || (daemon.running("tap") == 1).then_some(()));
    client
}

#[test]
fn other_users_that_hold_connections_do_not_keep_the_operator_out() {
    // A connection that sends nothing is closed after 30 s.
    const SOON: Duration = Duration::from_secs(20);
    let daemon = setup().start();
    let dashboard = Dashboard::of(&daemon);
    let session = dashboard.session();
    let crowd: Vec<_> = (0..80).map(|_| Client::tcp(dashboard.port)).collect();
    let start = Instant::now();

    let status = dashboard.ask("POST", "/jobs/status", &session).status();

    assert_eq!(status, 200);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    drop(crowd);
}

#[test]
fn a_link_works_once_and_every_answer_needs_its_session() {
    let daemon = setup().start();
    let dashboard = Dashboard::of(&daemon);
    let status = |fields: &str| dashboard.ask("POST", "/jobs/status", fields).status();
    let link = dashboard.link();
    let token = link.split_once("#token=").unwrap().1;
    assert!(token.len() > 40, "{token}");

    assert_eq!(status(""), 401);
    assert_eq!(status(&bearer(token)), 401, "the token of a link is not that of a session");
    assert_eq!(dashboard.ask("POST", "/dashboard/open", &bearer("guess")).status(), 401);
    let opened = dashboard.open(&link);
    assert_eq!(opened.status(), 200, "{}", opened.text());
    assert_eq!(opened.field("set-cookie"), None, "a cookie would be sent by other pages, too");
    let again = dashboard.open(&link);

    assert_eq!(again.status(), 401);
    assert!(again.text().contains("this link has been used"), "{}", again.text());
    let session: Value = serde_json::from_slice(&opened.body).unwrap();
    let session = bearer(session["token"].as_str().unwrap());
    assert_eq!(status(&session), 200);
    assert_eq!(status(""), 401);
    let access = dashboard.ask("GET", "/dashboard/access", &session);
    let access: Value = serde_json::from_slice(&access.body).unwrap();
    assert_eq!(access, serde_json::json!({ "changes": true, "profiler": false }));
    assert_eq!(dashboard.ask("GET", "/dashboard/access", "").status(), 401);

    // The next link begins another session, and the first one goes on.
    let other = dashboard.session();
    assert_ne!(other, session);
    assert_eq!((status(&session), status(&other)), (200, 200));
}

#[test]
fn pages_of_other_sites_and_other_names_of_the_host_reach_nothing() {
    let daemon = setup().start();
    let dashboard = Dashboard::of(&daemon);
    let session = dashboard.session();
    let own = format!("http://127.0.0.1:{}", dashboard.port);

    for (host, target) in [
        ("rebound.example", "/dashboard/"),
        ("127.0.0.1", "/dashboard/"),
        ("rebound.example", "/jobs/status"),
    ] {
        let method = if target == "/dashboard/" { "GET" } else { "POST" };
        assert_eq!(dashboard.ask_as(host, method, target, &session).status(), 403, "{host} {target}");
    }
    let posted = |fields: &str| dashboard.ask("POST", "/jobs/status", &format!("{session}{fields}")).status();
    assert_eq!(posted(&format!("Origin: {own}\r\nSec-Fetch-Site: same-origin\r\n")), 200);
    assert_eq!(posted("Origin: http://evil.example\r\n"), 403);
    assert_eq!(posted("Origin: null\r\n"), 403);
    assert_eq!(posted(&format!("Origin: {own}\r\nSec-Fetch-Site: cross-site\r\n")), 403);
    assert_eq!(posted(&format!("Origin: {own}\r\nOrigin: http://evil.example\r\n")), 403);
    // A preflight of another site's script is granted nothing.
    let preflight = "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n";
    let refused = dashboard.ask("OPTIONS", "/jobs/kill", preflight);
    assert_eq!((refused.status(), refused.field("access-control-allow-origin")), (403, None));
}

#[test]
fn only_what_the_page_shows_can_be_asked_for() {
    let daemon = setup().start();
    let dashboard = Dashboard::of(&daemon);
    let session = dashboard.session();

    for target in [
        "/jobs/shutdown",
        "/jobs/swap?a=one",
        "/jobs/one",
        "/jobs/plan?a=/etc/passwd",
        "/metrics",
        "/debug/vars",
    ] {
        assert_eq!(dashboard.ask("POST", target, &session).status(), 404, "{target}");
    }
    assert_eq!(dashboard.ask("GET", "/jobs/status", &session).status(), 405);
    let refused = dashboard.ask("POST", "/jobs/kill?a=77", &session);
    assert_eq!(refused.status(), 400);
    assert!(refused.text().contains("no job 0000000000000077 runs"), "{}", refused.text());
}

#[test]
fn a_stream_ends_when_its_reader_goes() {
    let daemon = setup().start();
    let dashboard = Dashboard::of(&daemon);
    let mut client = listen(&daemon, &dashboard);

    assert_eq!(daemon.get("/").text(), "hi");

    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
    let event = String::from_utf8(client.chunk()).unwrap();
    let line: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    assert!(line["handler"] == "one" && event.ends_with("\n\n"), "{event:?}");
    drop(client);
    until("the listener to end", || (daemon.running("tap") == 0).then_some(()));
}

#[test]
fn a_listener_that_has_heard_nothing_ends_with_its_reader_too() {
    let daemon = setup().start();
    let dashboard = Dashboard::of(&daemon);
    let client = listen(&daemon, &dashboard);

    drop(client);

    until("the listener to end", || (daemon.running("tap") == 0).then_some(()));
}

#[test]
fn a_recorded_failure_is_replayed_by_its_id_alone() {
    let daemon = setup().start();
    let dashboard = Dashboard::of(&daemon);
    let session = dashboard.session();
    assert_eq!(daemon.get("/bad").status(), 502);
    let id = until("the record", || {
        let history = dashboard.ask("POST", "/jobs/history?a=--failed", &session);
        let jobs: Vec<Value> = serde_json::from_slice(&history.body).unwrap();
        let id = jobs.first()?["id"].as_str()?.to_owned();
        let shown = dashboard.ask("POST", &format!("/jobs/history?a=--job&a={id}"), &session);
        let shown: Value = serde_json::from_slice(&shown.body).unwrap();
        shown[0]["replay"].is_string().then_some(id)
    });

    let replayed = dashboard.ask("POST", &format!("/dashboard/replay?a={id}"), &session);

    assert_eq!(replayed.status(), 200, "{}", replayed.text());
    let replayed: Value = serde_json::from_slice(&replayed.body).unwrap();
    assert_eq!(replayed["status"], 0, "{replayed}");
    let stderr = replayed["stderr"].as_str().unwrap();
    assert!(stderr.contains("the outcome is the same") && stderr.contains("why"), "{stderr}");
    for wrong in ["", "?a=../../etc/passwd", "?a=%2Fetc%2Fpasswd", "?a=0000000000000077"] {
        let refused = dashboard.ask("POST", &format!("/dashboard/replay{wrong}"), &session);
        assert_eq!(refused.status(), 502, "{wrong}: {}", refused.text());
    }
    assert_eq!(dashboard.ask("POST", &format!("/dashboard/replay?a={id}"), "").status(), 401);
}

#[test]
fn the_most_jobs_at_once_stay_when_fewer_run() {
    let sleeps = Program::text().sleep(Duration::from_millis(50)).say("hi").wasm();
    let settings = "limits.concurrency = 2\nlimits.concurrency_per_peer = 2";
    let daemon = Setup::one(settings, &sleeps).prepend("admin = \"unix://admin.sock\"\n").start();
    let dashboard = Dashboard::of(&daemon);
    let session = dashboard.session();
    let one = || {
        let handlers = dashboard.ask("POST", "/jobs/handlers", &session);
        let handlers: Value = serde_json::from_slice(&handlers.body).unwrap();
        handlers[0].clone()
    };
    let crowd = Crowd::on(daemon.port(), "/", 4);
    until("both slots and the queue to be used", || {
        let most = one();
        (most["most_running"] == 2 && most["most_waiting"].as_u64() > Some(0)).then_some(())
    });

    drop(crowd);

    let after = until("the jobs to end", || Some(one()).filter(|one| one["running"] == 0));
    assert_eq!(after["most_running"], 2);
}

#[test]
fn a_daemon_that_has_gone_is_said_at_the_start_and_later() {
    let mut daemon = setup().start();
    let dashboard = Dashboard::of(&daemon);
    let session = dashboard.session();

    daemon.terminate();

    let gone = dashboard.ask("POST", "/jobs/status", &session);
    assert_eq!(gone.status(), 502);
    assert!(gone.text().contains("no daemon listens at"), "{}", gone.text());
    let ended = daemon.verb(&["dashboard"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no daemon listens at"), "{}", ended.stderr);
}

#[test]
fn a_taken_port_is_told_with_what_to_do() {
    let daemon = setup().start();
    let dashboard = Dashboard::of(&daemon);
    let port = dashboard.port.to_string();

    let ended = daemon.verb(&["dashboard", "--port", &port]);

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("choose another with --port"), "{}", ended.stderr);
}
