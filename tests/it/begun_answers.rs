//! Jobs that fail after they have begun to answer: how they are reported, and how long a response head is held back.

use std::time::Duration;

use crate::harness::{Program, Setup, attempted};
use crate::history::{listed, shown};
use crate::replay::{only, recording, replay};

/// A program that answers, reads, complains, and runs these instructions.
fn failing(code: &str) -> Vec<u8> {
    // A job that calls itself overflows its stack, and writes no second head.
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
            "limits = { cpu = \"200ms\", time = \"60s\" }",
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
        let lines = "admin = \"unix://admin.sock\"\naccess_log = true\n";
        let daemon = Setup::one(settings, &failing(code)).prepend(lines).start();
        let mut client = daemon.client();
        client.send("POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 1\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 200 "), "{reason}");

        client.send("x");

        assert!(!client.rest().ends_with(b"0\r\n\r\n"), "{reason}: it looks whole");
        daemon.log.line(&format!(" {told} ({reason})"));
        let line = daemon.log.line("POST / -> 200 one@");
        assert!(line.contains(&format!(" ({reason}) (broken off) for ")), "{line}");
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
    let daemon = recording("", &failing("(call $proc_exit (i32.const 3))")).start();
    let mut client = daemon.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    client.head();
    client.send("x");
    let (file, _) = only(&daemon);

    let again = replay(&file, &[]);

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

    // A job that has no processor for 50 ms fails when its head has gone out.
    attempted(|| {
        let mut client = daemon.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let head = client.head();
        if head.starts_with("HTTP/1.1 502 ") { Ok(()) } else { Err(head) }
    });
}

#[test]
fn a_head_without_a_body_is_not_held_back_for_long() {
    let daemon = Setup::one("", &Program::text().sleep_for_ever().wasm()).start();
    let mut client = daemon.client();

    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    assert!(client.head().starts_with("HTTP/1.1 200 "));
}
