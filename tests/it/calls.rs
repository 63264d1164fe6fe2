//! Jobs that call jobs: streams, limits, refusals and endings.

use std::fs;
use std::io::Write as _;

use serde_json::Value;

use crate::harness::{Client, Daemon, Program, Response, Setup, at_once, guests, until};

/// The two builds of the guest.
#[derive(Clone, Copy)]
enum Build {
    Core,
    Component,
}

/// A configuration in which all handlers are the guest "calls".
struct Site(Setup);

impl Site {
    fn new() -> Site {
        Site(Setup::new("admin = \"unix://admin.sock\"\n"))
    }

    /// Adds a handler at `/NAME` that does what `verb` says, followed by its own arguments.
    fn handler(self, name: &str, build: Build, verb: &[&str], settings: &str) -> Site {
        let file = match build {
            Build::Core => "calls.wasm",
            Build::Component => "calls-wasip2.wasm",
        };
        let module = fs::read(guests().join(file)).unwrap();
        let settings = format!("output = \"raw\"\nargs = {verb:?}\n{settings}");
        Site(self.0.handler(name, &settings, &module))
    }

    fn core(self, name: &str, verb: &[&str], settings: &str) -> Site {
        self.handler(name, Build::Core, verb, settings)
    }

    fn start(self) -> Daemon {
        self.0.start()
    }
}

/// Makes the handler "front" apply a verb to the handler "back".
fn pair(verb: &[&str], front: &str, back: &str) -> Daemon {
    let front = format!("calls = [\"back\"]\n{front}");
    Site::new().core("front", verb, &front).core("back", &[], back).start()
}

fn ask(daemon: &Daemon, body: &[u8]) -> String {
    let answer = daemon.client().submit("POST", "/front", "", body);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.text().to_owned()
}

fn operate(daemon: &Daemon, call: &str, stdin: &[u8]) -> Response {
    let mut client = Client::unix(&daemon.path("admin.sock"));
    let length = stdin.len();
    client.send(format!("POST /jobs/{call} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"));
    client.send(stdin);
    client.response()
}

/// Returns the running jobs of one handler.
fn jobs(daemon: &Daemon, name: &str) -> Vec<Value> {
    let jobs: Value = serde_json::from_slice(&operate(daemon, "jobs", b"").body).unwrap();
    jobs.as_array().unwrap().iter().filter(|job| job["handler"] == name).cloned().collect()
}

#[test]
fn a_job_is_called_streams_both_ways_and_tells_its_status() {
    let daemon = pair(&["call", "back", "upper"], "", "");

    assert_eq!(ask(&daemon, b"some words"), "SOME WORDS\nstatus 0\n");
}

#[test]
fn a_chain_of_core_module_component_and_core_module_is_one_pipe() {
    let daemon = Site::new()
        .core("front", &["call", "middle", "call", "back", "upper"], "calls = [\"middle\"]")
        .handler("middle", Build::Component, &[], "calls = [\"back\"]")
        .core("back", &[], "")
        .start();

    assert_eq!(ask(&daemon, b"some words"), "SOME WORDS\nstatus 0\n\nstatus 0\n");
}

#[test]
fn many_mebibytes_go_through_two_jobs_in_little_memory() {
    const SIZE: usize = 32 << 20;
    let wide =
        "limits.body = \"1GiB\"\nlimits.memory = \"4MiB\"\nlimits.cpu = \"none\"\nlimits.time = \"none\"";
    for build in [Build::Core, Build::Component] {
        let daemon = Site::new()
            .handler("front", build, &["call", "back", "echo"], &format!("calls = [\"back\"]\n{wide}"))
            .core("back", &[], wide)
            .start();
        // Compiled, and run once before the measurement.
        assert_eq!(ask(&daemon, b"x"), "x\nstatus 0\n");
        let before = daemon.peak_memory();
        let mut client = daemon.client();
        let mut socket = client.socket().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            write!(socket, "POST /front HTTP/1.1\r\nHost: test\r\nContent-Length: {SIZE}\r\n\r\n").unwrap();
            let piece = vec![b'x'; 1 << 16];
            (0..SIZE / piece.len()).for_each(|_| socket.write_all(&piece).unwrap());
        });

        assert!(client.head().starts_with("HTTP/1.1 200"));
        let received = client.receive_chunks();

        sending.join().unwrap();
        assert_eq!(received, SIZE as u64 + "\nstatus 0\n".len() as u64);
        // The kernel counts pages for each processor and sums them up approximately: a peak may seem to
        // shrink.
        let grown = daemon.peak_memory().saturating_sub(before);
        assert!(grown < 16 << 10, "{grown} KiB for {SIZE} bytes");
    }
}

#[test]
fn a_running_job_is_talked_to() {
    assert_eq!(ask(&pair(&["talk", "back"], "", ""), b""), "ping\npong\n\nstatus 0\n");
}

#[test]
fn a_loop_ends_at_the_depth_with_an_error_that_says_so() {
    let daemon = Site::new().core("front", &["call", "front"], "calls = [\"front\"]").start();

    let said = ask(&daemon, b"");

    assert!(said.starts_with("TooDeep: front is not called: calls are nested 4 deep"), "{said}");
    assert_eq!(said.matches("status 0").count(), 4, "{said}");
}

#[test]
fn one_request_starts_so_many_jobs_and_no_more() {
    let daemon = pair(&["fan", "back", "65"], "limits.cpu = \"none\"", "");

    assert_eq!(
        ask(&daemon, b""),
        "64 done\nTooMany: one request may start 64 jobs, and this one has reached that: let one job do the work of several\n"
    );
}

#[test]
fn what_is_not_granted_is_not_called() {
    let daemon = Site::new()
        .core("front", &["run", "back"], "")
        .core("rogue", &["run", "shutdown"], "calls = [\"back\"]")
        .core("back", &[], "")
        .start();

    let said = ask(&daemon, b"");
    let rogue = daemon.get("/rogue");

    assert_eq!(said, "NotGranted: front may not call \"back\": handler.front.calls: add \"back\"\n");
    assert!(rogue.text().starts_with("NotGranted: rogue may not call \"shutdown\""), "{}", rogue.text());
    assert_eq!(daemon.get("/healthz").text(), "open\n");
}

#[test]
fn a_component_is_refused_as_a_core_module_is() {
    let daemon =
        Site::new().handler("front", Build::Component, &["run", "back"], "").core("back", &[], "").start();

    assert!(ask(&daemon, b"").starts_with("NotGranted: front may not call \"back\""));
}

#[test]
fn every_end_of_a_job_is_told_to_its_caller() {
    for (verb, back, wanted) in [
        (&["exit", "3"][..], "", "status 3\n"),
        (&["trap"], "", "status 134: Trapped: back: trapped: "),
        (
            &["spin"],
            "limits.cpu = \"50ms\"",
            "status 124: CpuLimit: back: stopped at its processor limit of 50ms",
        ),
        (
            &["sleep"],
            "limits.time = \"50ms\"",
            "status 124: TimeLimit: back: stopped at its time limit of 50ms",
        ),
        (&["count"], "limits.body = 4", "status 1: BodyLimit: back: "),
        (&["pour", "99"], "limits.output = 10", "status 1: OutputLimit: back: stopped at its output limit"),
        (&["nothing"], "", "status 0\n"),
    ] {
        let daemon = pair(&[&["call", "back"], verb].concat(), "", back);

        let said = ask(&daemon, b"words");

        assert!(said.contains(&format!("\n{wanted}")), "{verb:?}: {said:?}");
    }
}

#[test]
fn a_job_ends_with_its_caller_and_shows_whose_it_is() {
    let daemon = pair(&["wait", "back", "sleep"], "", "");
    let mut client = daemon.client();
    client.send("GET /front HTTP/1.1\r\nHost: test\r\n\r\n");
    let back = until("the job runs", || jobs(&daemon, "back").pop());
    assert_eq!(back["parent"], jobs(&daemon, "front")[0]["id"]);

    client.reset();

    until("both are gone", || {
        (jobs(&daemon, "back").is_empty() && jobs(&daemon, "front").is_empty()).then_some(())
    });
}

#[test]
fn a_job_is_not_left_behind_and_has_no_more_time_than_its_caller() {
    let left = pair(&["leave", "back"], "", "");
    let late = pair(&["wait", "back", "sleep"], "limits.time = \"300ms\"", "");

    assert_eq!(ask(&left, b""), "left\n");
    assert_eq!(late.get("/front").status(), 504);

    for daemon in [left, late] {
        until("the job is gone", || jobs(&daemon, "back").is_empty().then_some(()));
    }
}

#[test]
fn slots_that_only_callers_hold_are_not_waited_for() {
    let own =
        Site::new().core("front", &["run", "front"], "calls = [\"front\"]\nlimits.concurrency = 1").start();

    let said = ask(&own, b"");

    assert!(said.starts_with("Deadlock: front could never run: "), "{said}");
    assert!(said.ends_with("raise handler.front.limits.concurrency\n"), "{said}");
}

#[test]
fn handlers_that_call_one_another_do_not_wait_for_slots_that_the_other_holds() {
    // A request may wait in the queue for longer than the test waits.
    let settings = |other: &str| {
        format!(
            "calls = [\"{other}\"]\nlimits.concurrency = 1\nlimits.queue_time = \"20m\"\nlimits.time = \"20m\""
        )
    };
    let daemon = Site::new()
        .core("front", &["run", "back"], &settings("back"))
        .core("back", &["run", "front"], &settings("front"))
        .start();

    let answers = at_once(["/front", "/back"], 25, |path| daemon.get(path));

    assert_eq!(answers, [200; 100]);
}

#[test]
fn a_job_that_finds_no_slot_is_busy() {
    let daemon = pair(
        &["wait", "back", "sleep"],
        "",
        "limits.concurrency = 1\nlimits.queue = 0\nlimits.time = \"none\"",
    );
    let mut first = daemon.client();
    first.send("GET /front HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the only slot is taken", || jobs(&daemon, "back").pop());

    let said = ask(&daemon, b"");

    assert!(said.starts_with("Busy: back: every slot is taken"), "{said}");
}

#[test]
fn a_caller_cannot_set_what_is_configured_and_passes_nothing_on_by_itself() {
    let daemon = pair(&["call", "back", "env", "one", "two words"], "", "env = { FIXED = \"configured\" }");

    let said = ask(&daemon, b"");

    let lines: Vec<&str> = said.lines().collect();
    let names: Vec<&str> = lines.iter().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert_eq!(lines[0], "env one two words");
    assert!(lines.contains(&"FIXED=configured") && lines.contains(&"CALLER=front"), "{said}");
    assert_eq!(names, ["CALLER", "FIXED", "REQUEST_ID", "JOB_ID", "JOB_PARENT"]);
    let value = |name| lines.iter().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(value("REQUEST_ID="), value("JOB_PARENT="));
    assert_ne!(value("REQUEST_ID="), value("JOB_ID="));
}

#[test]
fn what_a_job_complains_of_is_logged_under_both_numbers() {
    let daemon = pair(&["run", "back", "complain", "oh no"], "", "");

    ask(&daemon, b"");

    let line = daemon.log.line("back: oh no");
    let label = line.split(['[', ']']).nth(1).unwrap();
    let (own, parent) = label.split_once(" of ").unwrap();
    assert_eq!((own.len(), parent.len()), (16, 16), "{line}");
}

#[test]
fn a_swap_does_not_mix_versions_within_a_request() {
    let say = |text: &str| Program::new().say(text).wasm();
    let daemon = Site(Site::new().core("front", &["late", "back"], "calls = [\"back\"]").0.handler(
        "back",
        "output = \"raw\"",
        &say("old"),
    ))
    .start();
    let mut client = daemon.client();
    client.send("POST /front HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nha");
    daemon.log.line("front: waiting");

    assert_eq!(operate(&daemon, "swap?a=back", &say("new")).status(), 200);
    client.send("lf");

    assert_eq!(client.response().text(), "old\nstatus 0\n");
    assert!(ask(&daemon, b"").starts_with("new\n"));
}

#[test]
fn a_guest_that_misuses_the_functions_is_told_or_trapped() {
    let module = |code: &str| {
        wat::parse_str(format!(
            r#"(module
              (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
              (import "portcullis_job_v1" "job" (func $job (param i32 i32) (result i32)))
              (import "portcullis_job_v1" "read" (func $read (param i32 i32 i32) (result i32)))
              (import "portcullis_job_v1" "start" (func $start (param i32) (result i32)))
              (import "portcullis_job_v1" "wait" (func $wait (param i32) (result i32)))
              (import "portcullis_job_v1" "error" (func $error (param i32 i32) (result i32)))
              (memory (export "memory") 1)
              (func (export "_start")
                {code}
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (call $error (i32.const 64) (i32.const 512)))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
        ))
        .unwrap()
    };
    let say = |code: &str| Setup::one("output = \"raw\"", &module(code)).start().get("/");

    let unknown = say("(drop (call $start (i32.const 7)))");
    let unstarted = say("(drop (call $wait (call $job (i32.const 64) (i32.const 1))))");
    let negative = say("(drop (call $read (i32.const -1) (i32.const 0) (i32.const -1)))");
    let outside = say("(drop (call $job (i32.const 65535) (i32.const 2)))");

    assert!(unknown.text().starts_with("unknown_job: "), "{}", unknown.text());
    assert!(unstarted.text().starts_with("wrong_state: "), "{}", unstarted.text());
    assert!(negative.text().starts_with("unknown_job: "), "{}", negative.text());
    assert_eq!(outside.status(), 502);
    assert!(outside.text().contains("2 bytes at 65535 are not in the module's memory"), "{}", outside.text());
}
