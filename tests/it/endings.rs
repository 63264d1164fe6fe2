//! How a job ends whose response is complete, whose client has left, or which gives up by itself.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, finish, never, portcullis, within};
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
    let before =
        Program::new().complain("asked\n").sleep(MOMENT).say("Content-Type: text/plain\n\n").pour(32);
    let behind = Program::text().say("begun\n").sleep(MOMENT).pour(32);
    for (number, program) in [before, behind].into_iter().enumerate() {
        let wasm = program.complain("finished\n").wasm();
        let finishing = Setup::one("client_leaves = \"finish\"", &wasm).start();
        let cancelled = Setup::one("", &wasm).start();
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
    assert_eq!(daemon.log.count("begun"), 2);
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

/// A program that answers, reads, complains, and runs these instructions.
fn failing(code: &str) -> Vec<u8> {
    // A job that calls its own start overflows its stack, without a second answer.
    let program = Program::new().code("(if (i32.load (i32.const 4096)) (then (call $main)))");
    program
        .say("Content-Type: text/plain\n\nbegun\n")
        .read_once()
        .complain("looking\nno disk left\n")
        .code(code)
        .wasm()
}

#[test]
fn a_failure_behind_the_head_says_so_and_gives_the_last_line_whatever_it_is() {
    let exit = "(call $proc_exit (i32.const 3))";
    let refused = format!("(drop (memory.grow (i32.const 10000))) {exit}");
    for (settings, code, told, reason) in [
        ("", exit, "ended with exit status 3 after it had begun to answer: no disk left", "exited"),
        (
            "",
            "unreachable",
            "trapped after it had begun to answer: wasm `unreachable` instruction executed; its last line: no disk left",
            "trapped",
        ),
        (
            "",
            "(i32.store (i32.const 4096) (i32.const 1)) (call $main)",
            "trapped after it had begun to answer: call stack exhausted; its last line: no disk left",
            "trapped",
        ),
        (
            "limits.memory = \"1MiB\"",
            refused.as_str(),
            "stopped at its memory limit of 1MiB (limits.memory) after it had begun to answer: no disk left",
            "memory_limit",
        ),
        (
            "limits.time = \"3s\"",
            "(call $sleep (i64.const 3600000000000))",
            "stopped at its time limit of 3s (limits.time) after it had begun to answer; its last line: no disk left",
            "time_limit",
        ),
        (
            "limits.cpu = \"200ms\"",
            "(loop $spin (br $spin))",
            "stopped at its processor limit of 200ms (limits.cpu) after it had begun to answer; its last line: no disk left",
            "cpu_limit",
        ),
        (
            "limits.output = \"64KiB\"",
            "(loop $pour (call $write (i32.const 1) (i32.const 0x10000) (i32.const 0x8000)) (br $pour))",
            "stopped at its output limit of 64KiB (limits.output) after it had begun to answer; its last line: no disk left",
            "output_limit",
        ),
    ] {
        let setup = Setup::one(settings, &failing(code)).prepend("admin = \"unix://admin.sock\"\n");
        let daemon = setup.start();
        let mut client = daemon.client();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 1\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 200 "), "{reason}");

        client.send("x");

        assert!(!client.rest().ends_with(b"0\r\n\r\n"), "{reason}: it looks whole");
        daemon.log.line(&format!(" {told} ({reason})"));
        daemon.counted(
            "portcullis_failures_total",
            &["handler=\"one\"", &format!("reason=\"{reason}\"")],
            1.0,
        );
        assert_eq!(daemon.so_far("portcullis_failures_total", &[]), 1.0, "{reason}");
        let job = &listed(&daemon, &[], 1)[0];
        assert_eq!((&job["outcome"], &job["request"]["complete"]), (&reason.into(), &false.into()));
        let shown = shown(&daemon, job);
        assert!(shown.contains(&format!("outcome     {told} ({reason})\n")), "{shown}");
    }
}

#[test]
fn the_record_of_a_failure_behind_the_head_is_the_same_when_it_is_run_again() {
    let settings = "record = \"failures\"";
    let setup = Setup::one(settings, &failing("(call $proc_exit (i32.const 3))"));
    let daemon = setup.prepend("record_dir = \"failures\"\n").start();
    let mut client = daemon.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    client.head();
    client.send("x");
    let line = daemon.log.line("is recorded: portcullis replay ");

    let file = daemon.path("failures").join(line.rsplit_once('/').unwrap().1);
    let again = finish(portcullis().arg("replay").arg(file), b"", PATIENCE);

    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(
        again.stderr.contains("now:  ended with exit status 3: no disk left (exited)"),
        "{}",
        again.stderr
    );
}

#[test]
fn an_answer_of_5xx_is_held_back_longer_so_that_a_failure_replaces_it() {
    // Longer than other heads are held back.
    let program = Program::new()
        .say("Status: 500\nContent-Type: text/plain\n\n")
        .sleep(Duration::from_millis(200))
        .exit(3);
    let daemon = Setup::one("", &program.wasm()).prepend("reason_header = true\n").start();

    let response = daemon.get("/");

    assert_eq!((response.status(), response.field("x-portcullis-reason")), (502, Some("exited")));
    daemon.log.line("ended with exit status 3 before it had answered (exited)");
}

#[test]
fn a_failure_is_a_502_while_nothing_of_the_answer_has_gone_out() {
    let program = Program::text().sleep(Duration::from_millis(5)).exit(3);
    let daemon = Setup::one("", &program.wasm()).start();

    assert_eq!(daemon.get("/").status(), 502);
}

#[test]
fn a_head_without_a_body_is_not_held_back_for_long() {
    let daemon = Setup::one("", &Program::text().sleep_for_ever().wasm()).start();
    let mut client = daemon.client();

    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    assert!(client.head().starts_with("HTTP/1.1 200 "));
}
