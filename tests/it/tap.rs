//! Live requests: what a listener gets, what its conditions leave out, and what happens to a slow one.

use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Daemon, Log, PATIENCE, Program, Setup, output, portcullis, reaped, until, within};
use crate::trace_contexts::{TRUSTING, traceparent};
use crate::traces::TRACE;

fn setup() -> Setup {
    Setup::one("", &Program::text().say("hi").wasm())
        .handler("bad", "", &Program::new().complain("why\n").trap().wasm())
        .handler("slow", "", &Program::text().sleep(Duration::from_millis(80)).say("late").wasm())
        .prepend("admin = \"unix://admin.sock\"\nhistory = \"none\"\n")
}

/// A running `tap`. Dropping it ends it.
struct Tap {
    child: Child,
    out: Log,
}

/// Starts a listener whose stdout is a pipe, and waits until it listens.
fn listener(daemon: &Daemon, args: &[&str]) -> Child {
    let before = daemon.running("tap");
    let mut command = portcullis();
    command.arg("tap").args(args).arg("--socket").arg(daemon.path("admin.sock"));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    until("the listener", || (daemon.running("tap") > before).then_some(()));
    child
}

impl Tap {
    /// Starts a listener, and waits until it listens.
    fn on(daemon: &Daemon, args: &[&str]) -> Tap {
        let mut child = listener(daemon, args);
        let out = Log::of(child.stdout.take().unwrap());
        Tap { child, out }
    }

    /// Waits for the next line.
    fn line(&self) -> String {
        self.out.next("")
    }

    fn job(&self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn every_request_is_shown_as_it_ends_also_one_that_no_handler_answers() {
    let daemon = setup().start();
    let tap = Tap::on(&daemon, &["--json"]);

    daemon.get("/?token=s3cret");
    let job = tap.job();
    assert_eq!((&job["handler"], &job["request"]["path"]), (&"one".into(), &"/".into()));
    assert_eq!((&job["request"]["status"], &job["run"]["status"]), (&200.into(), &0.into()));
    assert!(!job.to_string().contains("s3cret"), "{job}");

    daemon.get("/nowhere");
    let refused = tap.job();
    assert_eq!((&refused["id"], &refused["outcome"]), (&Value::Null, &"no_route".into()));
    assert_eq!(refused["request"]["status"], 404);
}

#[test]
fn a_request_that_is_refused_within_its_head_is_shown() {
    let daemon = setup().start();
    let tap = Tap::on(&daemon, &["status=4xx"]);
    let mut client = daemon.client();

    client.send("GET /page?token=s3cret HTTP/1.1\r\nHost: test\r\nbad field\r\n\r\n");

    assert_eq!(client.response().status(), 400);
    let line = tap.line();
    assert!(line.contains(" GET /page -> 400, ") && line.ends_with(": malformed_request"), "{line}");
}

#[test]
fn a_request_that_a_gate_answers_is_shown_with_the_job_of_the_gate() {
    let daemon = setup()
        .handler("page", "", &Program::text().say("page").wasm())
        .add("before = [\"login\"]\n")
        .handler("login", "", &Program::new().say("Status: 503\n\nlater\n").wasm())
        .start();
    let tap = Tap::on(&daemon, &["status>=500"]);

    assert_eq!(daemon.get("/page").status(), 503);

    let line = tap.line();
    assert!(line.contains(" GET /page -> 503, 6B by login@") && line.ends_with(": answered 503"), "{line}");
}

#[test]
fn conditions_are_applied_by_the_daemon() {
    let daemon = setup().start();
    let slow = Tap::on(&daemon, &["path=/s*", "duration>50ms status<500"]);
    let failed = Tap::on(&daemon, &["--json", "handler=bad status=5xx outcome=trapped"]);

    for path in ["/", "/bad", "/slow", "/nowhere"] {
        daemon.get(path);
    }

    let line = slow.line();
    assert!(line.contains(" GET /slow -> 200, 4B by slow@") && line.ends_with(": ok"), "{line}");
    let job = failed.job();
    assert_eq!((&job["handler"], &job["run"]["stderr"]), (&"bad".into(), &"why".into()));
}

#[test]
fn a_trace_is_shown_and_selects_its_requests() {
    let daemon = setup().add(TRUSTING).start();
    let text = Tap::on(&daemon, &[&format!("trace={TRACE}")]);
    let json = Tap::on(&daemon, &["--json", "trace=4bf92f*"]);
    let field = traceparent("00");

    daemon.get("/");
    assert_eq!(daemon.client().submit("GET", "/nowhere", &field, b"").status(), 404);
    assert_eq!(daemon.client().submit("GET", "/bad", &field, b"").status(), 502);

    let refused = text.line();
    assert!(refused.ends_with(&format!(", trace {TRACE}: no_route")), "{refused}");
    let failed = text.line();
    assert!(
        failed.contains(" GET /bad -> 502, ") && failed.contains(&format!(", trace {TRACE}: ")),
        "{failed}"
    );
    let (refused, failed) = (json.job(), json.job());
    assert_eq!((&refused["outcome"], &refused["trace_id"]), (&"no_route".into(), &TRACE.into()));
    assert_eq!((&failed["handler"], &failed["trace_id"]), (&"bad".into(), &TRACE.into()));
}

#[test]
fn a_malformed_condition_is_refused() {
    let daemon = setup().start();

    let ended = daemon.verb(&["tap", "statuss>=500"]);

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("there is no field \"statuss\": handler, version, "), "{}", ended.stderr);
}

#[test]
fn a_slow_reader_loses_the_oldest_and_is_told_how_many() {
    /// More than a pipe, two sockets and the queue hold.
    const REQUESTS: usize = 4000;
    let daemon = setup().start();
    let tap = Tap::on(&daemon, &["--json"]);
    let pid = Pid::from_child(&tap.child);
    kill_process(pid, Signal::STOP).unwrap();
    let mut client = daemon.client();

    for _ in 0..REQUESTS {
        assert_eq!(client.get("/").status(), 200);
    }
    kill_process(pid, Signal::CONT).unwrap();

    let (mut seen, mut dropped) = (0, 0);
    within(PATIENCE, "all lines", || {
        let line = tap.job();
        match line["dropped"].as_u64() {
            Some(count) => dropped += usize::try_from(count).unwrap(),
            None => seen += 1,
        }
        (seen + dropped == REQUESTS).then_some(())
    });
    assert!(dropped > 0 && seen > 512, "{seen} seen, {dropped} dropped");
}

#[test]
fn a_listener_ends_with_the_daemon() {
    let mut daemon = setup().start();
    let mut tap = Tap::on(&daemon, &[]);

    daemon.terminate();

    assert_eq!(reaped(&mut tap.child, PATIENCE).code(), Some(0));
    assert_eq!(tap.out.whole(), "");
}

#[test]
fn a_listener_whose_reader_has_gone_ends_and_costs_nothing_more() {
    let daemon = setup().start();
    let mut child = listener(&daemon, &[]);

    drop(child.stdout.take());

    assert_eq!(output(child, PATIENCE).code, Some(0));
    until("the listener to go", || (daemon.running("tap") == 0).then_some(()));
}
