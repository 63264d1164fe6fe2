//! The admin socket and the verbs that use it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, finish, output, portcullis, until};

/// Two handlers. The second never ends by itself.
fn setup() -> Setup {
    Setup::one("env = { TOKEN = \"s3cret\" }", &Program::text().say("hi").wasm())
        .handler("slow", "limits.time = \"none\"", &Program::text().say("begun\n").sleep_for_ever().wasm())
        .prepend("admin = \"unix://admin.sock\"\ngrace = \"20s\"\n")
}

/// Runs a verb that must succeed, and parses its JSON.
fn json(daemon: &Daemon, args: &[&str]) -> Value {
    let ended = daemon.verb(&[args, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    serde_json::from_slice(&ended.stdout).unwrap()
}

/// Sends a request verbatim to the admin socket.
fn ask(daemon: &Daemon, request: &str) -> crate::harness::Response {
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send(request);
    client.response()
}

/// Returns the id of the job of `slow`, once it runs.
fn slow(daemon: &Daemon) -> String {
    until("the slow job", || {
        let jobs = json(daemon, &["jobs"]);
        let job = jobs.as_array().unwrap().iter().find(|job| job["handler"] == "slow")?;
        Some(job["id"].as_str().unwrap().to_owned())
    })
}

#[test]
fn the_admin_socket_is_its_owner_s_alone() {
    let daemon = setup().start();

    let mode = daemon.path("admin.sock").metadata().unwrap().permissions().mode();

    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_job_streams_its_stdout_and_says_its_status_in_a_trailer() {
    let daemon = setup().start();
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send("POST /jobs/slow?a=x+y HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("job-name: slow\r\n") && head.contains("job-args: x y\r\n"), "{head}");
    let begun = client.up_to(b"begun\n\r\n");
    let id = head.lines().find_map(|line| line.strip_prefix("job-id: ")).unwrap();

    let killed = daemon.verb(&["kill", id]);

    assert_eq!(killed.code, Some(0), "{}", killed.stderr);
    assert!(begun.len() < 100, "a first byte that did not wait for the last");
    let end = String::from_utf8(client.up_to(b"\r\n\r\n")).unwrap();
    assert_eq!(end, "0\r\njob-status: 143\r\njob-error: stopped: an operator ended the job\r\n\r\n");
}

#[test]
fn a_job_that_fails_without_trailers_is_broken_off() {
    let daemon = setup().start();
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send("POST /jobs/slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.head();

    daemon.verb(&["kill", &slow(&daemon)]);

    assert!(!client.rest().ends_with(b"0\r\n\r\n"));
}

#[test]
fn an_operator_that_does_not_read_is_closed_at_the_write_deadline() {
    let settings = "admin = \"unix://admin.sock\"\n[http]\nwrite_idle = \"300ms\"\n";
    let daemon = Setup::one("", &Program::text().pour(2048).wasm()).prepend(settings).flag("-D").start();
    let mut client = Client::unix(&daemon.path("admin.sock"));
    client.send("POST /jobs/one HTTP/1.1\r\nHost: localhost\r\n\r\n");

    daemon.log.line("-job one() = ");

    let whole = 2048u64 << 16;
    let seen = until("what was sent by then", || Some(client.drop_bytes(whole)));
    assert!(seen < whole, "{seen}");
}

#[test]
fn what_web_pages_and_strangers_send_is_refused() {
    let daemon = setup().start();
    let status = |request: &str| ask(&daemon, request).status();

    assert_eq!(status("POST /jobs/version HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a\r\n\r\n"), 403);
    assert_eq!(status("POST /jobs/version HTTP/1.1\r\nHost: rebound.example\r\n\r\n"), 403);
    assert_eq!(status("GET /jobs/version HTTP/1.1\r\nHost: localhost\r\n\r\n"), 405);
    assert_eq!(status("POST /jobs/nobody HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404);
    assert_eq!(status("POST /jobs/kill HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
    assert_eq!(status("POST /jobs/version?b=c HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
    assert_eq!(status("POST /jobs/version HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
    daemon.log.line("admin: unix uid=");
}

#[test]
fn counters_tell_failures_from_answers() {
    let daemon = setup().handler("bad", "", &Program::new().exit(3).wasm()).start();
    assert_eq!(daemon.get("/").status(), 200);
    assert_eq!(daemon.get("/bad").status(), 502);

    let one = "portcullis_requests_total{handler=\"one\"";
    let bad = "portcullis_request_failures_total{handler=\"bad\"";
    let metrics = until("both requests to be counted", || {
        let text = ask(&daemon, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").text().to_owned();
        let is_counted =
            |start: &str| text.lines().any(|line| line.starts_with(start) && line.ends_with(" 1"));
        (is_counted(one) && is_counted(bad)).then_some(text)
    });

    let line = |start: &str| metrics.lines().find(|line| line.starts_with(start)).unwrap();
    assert!(line("portcullis_request_failures_total{handler=\"one\"").ends_with(" 0"), "{metrics}");
    assert!(metrics.contains("portcullis_gate{state=\"open\"} 1\n"), "{metrics}");
}

#[test]
fn an_old_generation_is_freed_when_its_last_job_has_ended() {
    let daemon = setup().start();
    for _ in 0..3 {
        json(&daemon, &["reload"]);
    }

    // The last reload still holds the generation before for a moment.
    let status = until("the old generations to be freed", || {
        Some(json(&daemon, &["status"])).filter(|status| status["generations_alive"] == 1)
    });

    assert_eq!(status["generation"], 4);
    assert!(status["published"].is_string() && status["reloaded"].is_string(), "{status}");
    assert_eq!((&status["gate"], &status["handlers"]), (&"open".into(), &2.into()));
}

#[test]
fn a_secret_is_named_and_not_shown() {
    let daemon = setup().start();

    let told = json(&daemon, &["explain", "GET", "http://h.example/"]);

    assert_eq!(told["route"]["handler"]["grants"]["env"], serde_json::json!(["TOKEN"]));
    assert!(!told.to_string().contains("s3cret"));
    assert_eq!(json(&daemon, &["explain", "GET", "/slow/"])["status"], 404);
    assert_eq!(json(&daemon, &["explain", "TRACE", "/slow"])["status"], 501);
    assert_eq!(json(&daemon, &["explain", "GET", "/slow/"])["near"][0]["miss"], "answers at /slow");
}

#[test]
fn a_plan_changes_nothing_and_a_reload_does_what_it_said() {
    let daemon = setup().start();
    let config = daemon.path("portcullis.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let changed = text
        .replace("TOKEN = \"s3cret\"", "TOKEN = \"other\", MORE = \"1\"")
        .replace("path = \"/slow\"", "path = \"/slower\"");
    std::fs::write(&config, changed).unwrap();
    let config = config.to_str().unwrap();

    let plan = daemon.verb(&["plan", "-c", config]);
    assert_eq!(daemon.get("/slower").status(), 404);
    let reload = daemon.verb(&["reload"]);

    let plan = String::from_utf8(plan.stdout).unwrap();
    assert_eq!(
        plan,
        "~ handler one\n    env TOKEN changed\n    env MORE added\n- route * /slow -> slow\n+ route * /slower -> slow\n"
    );
    let reload = String::from_utf8(reload.stdout).unwrap();
    assert_eq!(reload, format!("generation 2: 2 handlers, 2 routes\n{plan}"));
}

#[test]
fn every_error_of_a_reload_and_of_a_plan_is_told() {
    let daemon = setup().start();
    let config = daemon.path("portcullis.toml");
    std::fs::write(&config, "grace = 1\njobs = 0\n").unwrap();

    for ended in [daemon.verb(&["reload"]), daemon.verb(&["plan", "-c", config.to_str().unwrap()])] {
        assert_eq!((ended.code, ended.stdout.len()), (Some(1), 0));
        assert_eq!(ended.stderr.lines().count(), 2, "{}", ended.stderr);
    }
    assert_eq!(json(&daemon, &["status"])["generation"], 1);
}

#[test]
fn the_log_is_followed_until_the_daemon_ends() {
    let mut daemon = setup().handler("sad", "", &Program::text().complain("alas\n").wasm()).start();
    let mut follow = portcullis();
    follow.args(["logs", "-f", "sad", "--socket"]).arg(daemon.path("admin.sock")).stdout(Stdio::piped());
    let follower = follow.spawn().unwrap();
    until("the follower", || json(&daemon, &["jobs"]).to_string().contains("\"logs\"").then_some(()));
    daemon.get("/sad");

    daemon.terminate();

    let ended = output(follower, PATIENCE);
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(told.contains(" sad: alas\n") && told.contains(" sad ended: OK (0)\n"), "{told}");
    assert_eq!(ended.code, Some(0));
}

#[test]
fn the_log_of_handlers_tells_why_a_response_was_refused_and_the_message_of_a_panic() {
    let panics =
        Program::new().complain("thread 'main' panicked at src/main.rs:17:5:\nout of cheese\n").trap().wasm();
    let daemon = setup()
        .handler("headless", "", &Program::new().say("no head\n").wasm())
        .handler("panics", "", &panics)
        .start();
    for path in ["/headless", "/panics"] {
        assert_eq!(daemon.get(path).status(), 502, "{path}");
    }

    let told = String::from_utf8(daemon.verb(&["logs"]).stdout).unwrap();

    let line = |part: &str| told.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{told}"));
    let refused = line(" headless failed: not a valid answer: ");
    assert!(refused.ends_with(" (bad_answer)"), "{refused}");
    assert!(daemon.log.line("(bad_answer)").contains(refused.split_once(" failed: ").unwrap().1));
    let trapped = line(" panics ended: ");
    assert!(trapped.ends_with(": trapped: panicked at src/main.rs:17:5: out of cheese"), "{trapped}");
}

#[test]
fn the_daemon_answers_while_its_gate_is_shut() {
    let mut daemon = setup().shut();

    assert_eq!(json(&daemon, &["status"])["gate"], "shut");

    daemon.open();
    assert_eq!(json(&daemon, &["status"])["gate"], "open");
}

#[test]
fn the_daemon_answers_while_it_drains_and_a_kill_lets_it_end() {
    let mut daemon = setup().start();
    let mut client = daemon.client();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    let id = slow(&daemon);

    assert_eq!(daemon.verb(&["shutdown"]).code, Some(0));
    until("the drain", || (json(&daemon, &["status"])["gate"] == "draining").then_some(()));
    assert_eq!(daemon.verb(&["reload"]).code, Some(1));
    assert_eq!(daemon.verb(&["kill", &id]).code, Some(0));

    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
    assert!(!daemon.path("admin.sock").exists());
}

#[test]
fn the_answer_to_shutdown_arrives() {
    for _ in 0..10 {
        let mut daemon = setup().start();

        let ended = daemon.verb(&["shutdown"]);

        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(daemon.wait(PATIENCE).code, Some(0));
    }
}

#[test]
fn no_load_on_the_handlers_keeps_an_operator_out() {
    let daemon = setup().prepend("http.connections = 2\nhttp.connections_per_peer = 2\njobs = 1\n").start();
    let mut clients: Vec<_> = (0..8).map(|_| daemon.client()).collect();
    for client in &mut clients {
        client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    }

    let id = slow(&daemon);

    assert_eq!(daemon.verb(&["kill", &id]).code, Some(0));
}

#[test]
fn where_no_daemon_listens_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");

    let ended = finish(portcullis().args(["status", "--socket"]).arg(&socket), b"", Duration::from_secs(10));

    assert_eq!(ended.code, Some(1));
    let wanted = format!("portcullis: no daemon listens at {}: start one with", socket.display());
    assert!(ended.stderr.starts_with(&wanted), "{}", ended.stderr);
    assert!(ended.stderr.contains("call this in the directory that `up` serves"), "{}", ended.stderr);
}

#[test]
fn a_verb_finds_the_daemon_of_the_directory_it_is_in() {
    let daemon = setup().start();
    let config = daemon.path("portcullis.toml");

    let mut command = portcullis();
    command.args(["status", "--json"]).current_dir(config.parent().unwrap());
    let ended = finish(&mut command, b"", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    daemon.signal(Signal::TERM);
}

#[test]
fn a_job_that_is_a_part_of_the_daemon_is_not_killed() {
    let daemon = setup().start();
    let jobs = json(&daemon, &["jobs"]);

    for name in ["serveapi", "serveadmin", "runschedules"] {
        let job = jobs.as_array().unwrap().iter().find(|job| job["handler"] == name);
        let id = job.unwrap_or_else(|| panic!("{name} in {jobs}"))["id"].as_str().unwrap();
        let refused = daemon.verb(&["kill", id]);

        assert_eq!(refused.code, Some(1), "{name}");
        let wanted = format!("{name} is a part of the daemon: `shutdown` ends the daemon");
        assert!(refused.stderr.contains(&wanted), "{}", refused.stderr);
    }

    assert_eq!(daemon.get("/").text(), "hi");
}

#[test]
fn an_answer_that_was_taken_whole_is_no_failure() {
    // The job goes on after the last byte, which its client does not notice.
    let guest = Program::new()
        .say("Content-Type: text/plain\nContent-Length: 5\n\nhello")
        .sleep(Duration::from_millis(20))
        .wasm();
    let daemon = setup().handler("late", "", &guest).start();

    for _ in 0..5 {
        assert_eq!(daemon.get("/late").text(), "hello");
    }

    let idle = || {
        let jobs = json(&daemon, &["jobs"]);
        jobs.as_array().unwrap().iter().all(|job| job["handler"] != "late").then_some(())
    };
    until("the jobs to end", idle);
    let told = daemon.verb(&["logs"]);
    assert!(!String::from_utf8_lossy(&told.stdout).contains("cancelled"), "{told:?}");
}
