//! How a job ends whose response is complete, whose client has left, or which gives up by itself.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, guests, never, until, within};
use crate::history::{listed, shown};

/// Long enough for a client to receive a whole response and leave.
const MOMENT: Duration = Duration::from_millis(100);

/// A program that writes a response of five bytes with its length.
fn five() -> Program {
    Program::new().say("Content-Type: text/plain\nContent-Length: 5\n\nhello")
}

fn failures(daemon: &Daemon, reason: &str) -> f64 {
    daemon.so_far("portcullis_failures_total", &[&format!("reason=\"{reason}\"")])
}

#[test]
fn a_job_that_announced_its_length_goes_on_to_its_own_end() {
    // It exits with status 74 if a write is refused.
    let program = five().sleep(MOMENT).say("\n").pour(32).complain("put away\n");
    let setup = Setup::one("limits.concurrency = 32", &program.wasm());
    let daemon = setup.prepend("admin = \"unix://admin.sock\"\n").start();

    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = daemon.client();
            client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            client
        })
        .collect();
    for mut client in clients {
        let response = client.response();
        assert_eq!((response.status(), response.text()), (200, "hello"));
    }

    daemon.log.lines(20, "put away");
    assert!(!daemon.log.text().contains("exit status"), "{}", daemon.log.text());
}

#[test]
fn bytes_behind_the_announced_length_are_dropped_whenever_they_come() {
    let head = "Content-Type: text/plain\nContent-Length: 5\n\n";
    let whole = Program::new().say(&format!("{head}hello\n"));
    let apart = Program::new().say(head).say("hello").say("\n");
    let late = five().sleep(MOMENT).say("\n");
    let short = Program::new().say(&format!("{head}hell"));
    let setup = Setup::one("", &whole.wasm()).handler("apart", "", &apart.wasm());
    let daemon = setup.handler("late", "", &late.wasm()).handler("short", "", &short.wasm()).start();

    for path in ["/", "/apart", "/late"] {
        let response = daemon.get(path);
        assert_eq!((response.status(), response.text()), (200, "hello"), "{path}");
    }
    assert_eq!(daemon.get("/short").status(), 502);
}

#[test]
fn the_end_of_a_job_behind_its_whole_answer_is_told_and_counted_once() {
    let program = five().sleep(MOMENT).complain("no disk left\n").exit(3);
    let daemon = Setup::one("", &program.wasm()).prepend("admin = \"unix://admin.sock\"\n").start();

    assert_eq!(daemon.get("/").text(), "hello");

    daemon.log.line("ended with exit status 3 after it had begun to answer: no disk left (exited)");
    within(PATIENCE, "it is counted", || (failures(&daemon, "exited") > 0.0).then_some(()));
    assert_eq!((failures(&daemon, "exited"), failures(&daemon, "cancelled")), (1.0, 0.0));
    let job = &listed(&daemon, &[], 1)[0];
    assert_eq!((&job["outcome"], &job["request"]["complete"]), (&"exited".into(), &true.into()));
    let told = "outcome     ended with exit status 3 after it had begun to answer: no disk left (exited)\n";
    assert!(shown(&daemon, job).contains(told), "{}", shown(&daemon, job));
}

#[test]
fn a_job_whose_client_leaves_finishes_where_its_handler_says_so() {
    let head = "Content-Type: text/plain\n\n";
    let before = Program::new().complain("asked\n").await_file("go").say(head).pour(32);
    let behind = Program::text().say("begun\n").await_file("go").pour(32);
    for (number, program) in [before, behind].into_iter().enumerate() {
        let wasm = program.complain("finished\n").wasm();
        let finishing = with_data(Setup::one(&format!("client_leaves = \"finish\"\n{DATA}"), &wasm)).start();
        let cancelled = with_data(Setup::one(DATA, &wasm)).start();
        for daemon in [&finishing, &cancelled] {
            let mut client = daemon.client();
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            if number == 1 {
                client.head();
            } else {
                daemon.log.line("one: asked");
            }
            client.reset();
        }

        cancelled.counted("portcullis_jobs_running", &["handler=\"one\""], 0.0);
        for daemon in [&finishing, &cancelled] {
            fs::write(daemon.path("data/go"), "").unwrap();
        }
        finishing.log.line("one: finished");
        never(MOMENT, "a job goes on by default", || cancelled.log.count("one: finished") > 0);
    }
}

#[test]
fn a_job_in_line_whose_client_leaves_never_begins_though_its_handler_finishes() {
    let program = Program::text().complain("begun\n").say("begun\n").read_once().pour(32);
    let settings = "client_leaves = \"finish\"\nbody = \"stream\"\nlimits = { concurrency = 1, queue = 40 }";
    let daemon = Setup::one(settings, &program.wasm()).prepend("admin = \"unix://admin.sock\"\n").start();
    let ask = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n";
    let mut first = daemon.client();
    first.send(ask);
    daemon.log.line("begun");
    let waiting = || daemon.metric("portcullis_jobs_waiting", &[]);

    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = daemon.client();
            client.send(ask);
            client
        })
        .collect();
    within(PATIENCE, "they stand in line", || (waiting() == 20.0).then_some(()));
    clients.into_iter().for_each(Client::reset);
    within(PATIENCE, "nobody is in line", || (waiting() == 0.0).then_some(()));
    first.send("xx");

    assert_eq!(first.response().status(), 200);
    let mut last = daemon.client();
    last.send(ask);
    last.send("xx");
    assert_eq!(last.response().status(), 200);
    assert_eq!(daemon.log.lines(2, "begun").len(), 2);
}

#[test]
fn a_job_whose_response_is_refused_and_that_fails_later_is_counted_once() {
    let program = Program::new().say("no field\n\n").sleep(MOMENT).exit(3);
    let setup = Setup::one("client_leaves = \"finish\"", &program.wasm()).flag("-D");
    let daemon = setup.prepend("admin = \"unix://admin.sock\"\n").start();

    assert_eq!(daemon.get("/").status(), 502);

    // Counted by then, if it is.
    daemon.log.line("-job one() = ERR (3)");
    assert_eq!(daemon.metric("portcullis_failures_total", &["handler=\"one\""]), 1.0);
    assert_eq!(failures(&daemon, "bad_answer"), 1.0);
}

#[test]
fn a_job_that_fails_when_its_client_has_left_is_in_the_log() {
    let program = Program::new().complain("begun\n").sleep(MOMENT).complain("no disk left\n").exit(3);
    let daemon = Setup::one("client_leaves = \"finish\"", &program.wasm()).start();
    for (number, method) in [(1, "GET"), (2, "HEAD")] {
        let mut client = daemon.client();
        client.send(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n"));
        daemon.log.lines(number, "one: begun");
        client.reset();
    }

    daemon.log.lines(2, "no disk left (exited)");
}

#[test]
fn a_job_that_finishes_without_its_client_is_held_to_its_limits() {
    let settings = "client_leaves = \"finish\"\nlimits.time = \"3s\"";
    let program = Program::text().say("begun\n").sleep_for_ever();
    let daemon = Setup::one(settings, &program.wasm()).prepend("admin = \"unix://admin.sock\"\n").start();
    let mut client = daemon.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();

    client.reset();

    within(PATIENCE, "its time is over", || (failures(&daemon, "time_limit") > 0.0).then_some(()));
}

/// Settings for jobs that only an operator can end.
const UNBOUNDED: &str = "client_leaves = \"finish\"\nlimits.time = \"none\"\n";

#[test]
fn the_job_of_a_probe_ends_with_the_probe_where_jobs_finish_without_their_clients() {
    let settings = format!("{UNBOUNDED}limits.concurrency = 1\nprobe = {{ path = \"/\", status = 200 }}");
    let program = Program::text().say("begun\n").sleep_for_ever();
    let daemon = Setup::one(&settings, &program.wasm()).prepend("admin = \"unix://admin.sock\"\n").start();

    daemon.counted("portcullis_jobs_running", &["handler=\"one\""], 0.0);
    let mut client = daemon.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    assert!(client.head().starts_with("HTTP/1.1 200 "), "the slot is free");
    assert_eq!(daemon.so_far("portcullis_failures_total", &[]), 0.0);
}

#[test]
fn an_operator_ends_a_job_that_finishes_behind_an_answer_that_is_none() {
    let program = Program::new().say("nonsense\n\n").sleep_for_ever();
    let daemon = Setup::one(UNBOUNDED, &program.wasm()).prepend("admin = \"unix://admin.sock\"\n").start();
    assert_eq!(daemon.get("/").status(), 502);
    let jobs = daemon.verb(&["jobs", "--json"]).stdout;
    let jobs: Value = serde_json::from_slice(&jobs).unwrap();
    let job = jobs.as_array().unwrap().iter().find(|job| job["handler"] == "one").expect("it goes on");

    let killed = daemon.verb(&["kill", job["id"].as_str().unwrap()]);

    assert_eq!(killed.code, Some(0), "{}", killed.stderr);
    daemon.counted("portcullis_jobs_running", &["handler=\"one\""], 0.0);
}

#[test]
fn a_guest_that_gives_up_after_it_was_refused_memory_has_run_into_its_limit() {
    let grow = "(drop (memory.grow (i32.const 10000)))";
    let program = Program::new().code(grow).complain("fatal error: out of memory\n").exit(2);
    let daemon =
        Setup::one("limits.memory = \"1MiB\"", &program.wasm()).prepend("reason_header = true\n").start();

    let refused = daemon.get("/");

    assert_eq!((refused.status(), refused.field("x-portcullis-reason")), (502, Some("memory_limit")));
    daemon.log.line(
        "stopped at its memory limit of 1MiB (limits.memory): fatal error: out of memory (memory_limit)",
    );
    // The message for its operator is not sent to its clients.
    assert!(!refused.text().contains("fatal"), "{}", refused.text());
}

/// The mount of the guests that write a file.
pub(crate) const DATA: &str = "mounts = [{ host = \"data\", guest = \"/data\", write = true }]";

/// Adds the directory of that mount, and the admin socket.
pub(crate) fn with_data(setup: Setup) -> Setup {
    fs::create_dir(setup.path("data")).unwrap();
    setup.prepend("admin = \"unix://admin.sock\"\n")
}

/// Waits until there are this many files and every job has ended.
fn all_written(daemon: &Daemon, handler: &str, files: usize) {
    let count = || fs::read_dir(daemon.path("data")).unwrap().count();
    until("every job to write its file", || (count() == files).then_some(()));
    daemon.counted("portcullis_jobs_running", &[handler], 0.0);
}

/// Sends requests whose clients leave as soon as they have the whole response. Each job must run to its own end, write
/// a file, and be counted once, as a success.
pub(crate) fn each_job_goes_on_behind_its_whole_response(daemon: &Daemon, handler: &str, target: &str) {
    // Enough to show a race: of 400 jobs that were stopped at random, 156 trapped.
    const REQUESTS: usize = 400;
    const CLIENTS: usize = 8;
    std::thread::scope(|scope| {
        let asking = || {
            for _ in 0..REQUESTS / CLIENTS {
                let response = daemon.get(target);
                assert_eq!((response.status(), response.text()), (200, "hello"), "{target}");
            }
        };
        (0..CLIENTS).for_each(|_| drop(scope.spawn(asking)));
    });

    all_written(daemon, handler, REQUESTS);
    daemon.counted("portcullis_requests_total", &[handler], REQUESTS as f64);
    daemon.counted("portcullis_job_guest_duration_seconds_count", &[handler], REQUESTS as f64);
    assert_eq!(daemon.so_far("portcullis_request_failures_total", &[handler]), 0.0);
    assert_eq!(daemon.so_far("portcullis_failures_total", &[]), 0.0, "{}", daemon.log.text());
}

/// Lets a client leave in the middle of a response. The job must run to its own end and write a file.
pub(crate) fn a_job_outlives_its_client(daemon: &Daemon, handler: &str, target: &str) {
    let mut client = daemon.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    client.reset();

    fs::write(daemon.path("data/go"), "").unwrap();

    // One of them is the file that it waits for.
    all_written(daemon, handler, 2);
    assert_eq!(failures(daemon, "cancelled"), 0.0);
}

#[test]
fn a_program_behind_its_whole_response_puts_away_its_file_whenever_its_client_leaves() {
    for kind in ["behind", "behind-wasip2"] {
        let module = fs::read(guests().join(format!("{kind}.wasm"))).unwrap();
        let daemon = with_data(Setup::one(&format!("args = [\"whole\"]\n{DATA}"), &module)).start();

        each_job_goes_on_behind_its_whole_response(&daemon, "handler=\"one\"", "/");
    }
}

#[test]
fn a_program_that_finishes_without_its_client_puts_away_its_file() {
    for kind in ["behind", "behind-wasip2"] {
        let module = fs::read(guests().join(format!("{kind}.wasm"))).unwrap();
        let settings = format!("client_leaves = \"finish\"\n{DATA}");
        let daemon = with_data(Setup::one(&settings, &module)).start();

        a_job_outlives_its_client(&daemon, "handler=\"one\"", "/");
    }
}
