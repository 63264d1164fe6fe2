//! The log when journald reads it: each line has a priority.

use crate::harness::{Program, Setup};

/// Starts a program as systemd does if the journal reads its stderr: the environment has the device and inode of
/// stderr.
const JOURNAL: [&str; 3] = ["sh", "-c", "JOURNAL_STREAM=$(stat -L -c %d:%i /dev/fd/2) exec \"$0\" \"$@\""];

#[test]
fn every_line_under_journald_has_its_priority_and_no_time() {
    let module = Program::new().complain("said\n").trap().wasm();
    let mut daemon = Setup::one("", &module).under(&JOURNAL).start();
    assert_eq!(daemon.get("/").status(), 502);

    let ended = daemon.terminate();

    let line =
        |words: &str| ended.stderr.lines().find(|line| line.contains(words)).unwrap_or_default().to_owned();
    assert!(line("listening on").starts_with("<6> INFO "), "{}", ended.stderr);
    assert!(line("one: said").starts_with("<6> INFO "), "{}", ended.stderr);
    assert!(line("(trapped)").starts_with("<4> WARN "), "{}", ended.stderr);
    assert!(
        ended.stderr.lines().all(|line| line.starts_with('<')),
        "also those of a stack: {}",
        ended.stderr
    );
}

#[test]
fn what_keeps_the_daemon_from_starting_is_an_error_to_journald() {
    let refused = Setup::new("nonsense = 1\n").under(&JOURNAL).fail();

    assert!(refused.stderr.starts_with("<3>portcullis: "), "{}", refused.stderr);
}

#[test]
fn elsewhere_lines_have_their_time_and_no_priority() {
    // Child processes of a service inherit the variable, even if their stderr is redirected.
    let mut daemon = Setup::one("", &Program::text().wasm()).env("JOURNAL_STREAM", "9:4711").start();

    let ended = daemon.terminate();

    assert!(ended.stderr.lines().all(|line| line.starts_with("20")), "{}", ended.stderr);
}
