//! The compiler processes: their parents, and how they end.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Log, PATIENCE, Program, Setup, bomb, portcullis, until, within};
use crate::replay::{only, recording};

/// Finds the compiler process of a parent.
fn compiler(parent: u32) -> Option<Pid> {
    let of = format!("\nPPid:\t{parent}\n");
    let compiles = |entry: &fs::DirEntry| {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        read("status").contains(&of) && read("cmdline").contains("compile-worker")
    };
    let found = fs::read_dir("/proc").unwrap().filter_map(Result::ok).find(compiles)?;
    Pid::from_raw(found.file_name().to_str()?.parse().ok()?)
}

/// Starts a verb and sends its compiler these signals; the last one ends it. Returns the exit status of the verb and
/// its stderr.
fn with_its_compiler_sent(verb: &mut Command, signals: &[Signal]) -> (Option<i32>, String) {
    let mut child = verb.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Log::of(child.stderr.take().unwrap());
    let worker = until("it has a compiler", || {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", log.text());
        compiler(child.id())
    });
    signals.iter().for_each(|signal| kill_process(worker, *signal).unwrap());
    let status = within(PATIENCE, "it ends", || child.try_wait().unwrap());
    (status.code(), log.whole())
}

/// The same for a `check` that compiles a bomb.
fn with_the_compiler_of_check_sent(signals: &[Signal]) -> (Option<i32>, String) {
    let setup = Setup::one("", &bomb());
    with_its_compiler_sent(portcullis().arg("check").current_dir(setup.path("")), signals)
}

/// Makes a job fail, and returns its record.
fn record(dir: &Path) -> String {
    let daemon = recording("", &Program::new().trap().wasm()).start();
    assert_eq!(daemon.get("/").status(), 502);
    let (file, _) = only(&daemon);
    let kept = dir.join("failed.json");
    fs::copy(file, &kept).unwrap();
    kept.to_str().unwrap().to_owned()
}

#[test]
fn check_run_and_replay_compile_in_a_child_that_may_fail_alone() {
    let setup = Setup::one("", &bomb());
    let dir = setup.path("");
    let record = record(&dir);

    for verb in [
        &["check"][..],
        &["run", "one"],
        &["run", "./one.wasm"],
        &["replay", "--module", "one.wasm", &record],
    ] {
        let mut command = portcullis();
        let (status, said) = with_its_compiler_sent(command.args(verb).current_dir(&dir), &[Signal::KILL]);

        assert_eq!(status, Some(1), "{verb:?}: {said}");
        assert!(said.contains("one.wasm: the compiler was killed: "), "{verb:?}: {said}");
    }
}

#[test]
fn what_is_sent_to_everybody_does_not_end_a_child_that_compiles() {
    let (status, said) = with_the_compiler_of_check_sent(&[
        Signal::HUP,
        Signal::INT,
        Signal::TERM,
        Signal::USR1,
        Signal::USR2,
        Signal::KILL,
    ]);

    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("one.wasm: the compiler was killed: "), "{said}");
}

#[test]
fn a_signal_that_nobody_holds_back_is_no_mistake_of_the_compilers() {
    let (_, said) = with_the_compiler_of_check_sent(&[Signal::ALARM]);

    assert!(said.contains("the compiler was ended by signal 14, which another process sent"), "{said}");
}
