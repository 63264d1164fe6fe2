//! Long texts of guests and clients: the log shows a bounded part of them.

use std::fs;

use crate::harness::{Client, PATIENCE, Setup, guests, within};

/// A module that traps 18 calls deep, in a function whose name has 60,000 letters.
fn verbose() -> Vec<u8> {
    let name = "N".repeat(60_000);
    wat::parse_str(format!(
        "(module (memory (export \"memory\") 1)
           (func ${name} (param $deep i32)
             (if (i32.eqz (local.get $deep)) (then unreachable))
             (call ${name} (i32.sub (local.get $deep) (i32.const 1))))
           (func $main (export \"_start\") (call ${name} (i32.const 17))))"
    ))
    .unwrap()
}

#[test]
fn a_storm_of_traps_is_told_at_the_pace_of_stderr_and_names_are_cut() {
    const TRAPS: usize = 30;
    let daemon =
        Setup::one("limits.stderr_rate = 3", &verbose()).prepend("admin = \"unix://admin.sock\"\n").start();
    let mut client = daemon.client();

    for _ in 0..TRAPS {
        assert_eq!(client.get("/").status(), 502);
    }

    let lines = daemon.log.lines(TRAPS, "trapped: ");
    let left_out =
        lines.iter().filter(|line| line.contains(" lines were left out here (limits.stderr_rate)"));
    let left_out = left_out.count();
    // The lines of the last stack come behind the one with its trap.
    let stacks = daemon.log.lines(TRAPS - left_out, "  0: NNN").len();
    assert!(stacks >= 1, "the first is told whole: {}", daemon.log.text());
    assert_eq!((lines.len(), stacks), (TRAPS, TRAPS - left_out));
    assert!(left_out > 0, "{} stacks at 3 lines a second", stacks);
    let longest = daemon.log.text().lines().map(str::len).max().unwrap();
    assert!(longest < 400, "{longest}");
    let counted = daemon.metric("portcullis_stderr_dropped_lines_total", &["handler=\"one\""]);
    assert!(counted >= (18 * left_out) as f64, "{counted} lines of {left_out} stacks");
}

#[test]
fn a_stack_is_of_stderr_and_not_logged_where_nothing_of_it_is() {
    let daemon = Setup::one("limits.stderr = 0", &verbose()).prepend("debug = true\n").start();

    let response = daemon.get("/");

    let told = response.text();
    assert!(told.contains("  0: NNN") && told.len() < 10 << 10, "a developer is told: {}", told.len());
    daemon.log.line("trapped: wasm `unreachable` instruction executed (trapped); 19 lines were left out here (limits.stderr)");
    assert_eq!(daemon.log.count("NNN"), 0);
}

#[test]
fn the_words_of_a_component_that_does_not_answer_are_cut() {
    let proxy = fs::read(guests().join("proxy.wasm")).unwrap();
    let route =
        "debug = true\n[handler.p]\nmodule = \"p.wasm\"\n[[route]]\npath = \"/{*any}\"\nhandler = \"p\"\n";
    let daemon = Setup::new(route).file("p.wasm", &proxy).start();

    let response = daemon.get("/rant");

    assert_eq!(response.status(), 502);
    assert!(response.text().contains("InternalError(Some(\"ZZZ") && response.text().len() < 2 << 10);
    let line = daemon.log.line("(bad_answer)");
    assert!(line.len() < 2 << 10 && line.contains("Z… (bad_answer)"), "{}", line.len());
}

#[test]
fn a_log_that_nobody_reads_costs_a_bounded_amount_of_memory() {
    /// Bytes that are logged in all: twice what the daemon may buffer.
    const SAID: usize = 32 << 20;
    let target = format!("/nowhere/{}", "x".repeat(4000));
    let setup = Setup::one("", &verbose());
    let (socket, unread) = (setup.path("p.sock"), setup.path("unread"));
    // Opened for reading and writing: it exists without a reader, and is full after 64 KiB.
    let script = format!("mkfifo '{0}' && exec \"$0\" \"$@\" 2<>'{0}'", unread.display());
    let daemon = setup
        .prepend("access_log = true\nadmin = \"unix://admin.sock\"\n")
        .host(format!("unix://{}", socket.display()))
        .under(&["sh", "-c", &script])
        .start();
    let mut client = Client::unix(&socket);
    assert_eq!(client.get("/nowhere").status(), 404);
    let before = daemon.status("VmRSS");

    for _ in 0..SAID / target.len() {
        assert_eq!(client.get(&target).status(), 404);
    }

    within(PATIENCE, "lines to be dropped", || {
        (daemon.metric("portcullis_log_dropped_lines_total", &[]) > 1000.0).then_some(())
    });
    let grown = daemon.status("VmRSS").saturating_sub(before);
    assert!(grown < 28 << 10, "{grown} KiB");
}
