//! The children that compile: who has them, and what becomes of them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Log, PATIENCE, Program, Setup, bomb, portcullis, until, within};

/// Finds the child of a process that compiles.
fn compiler(parent: u32) -> Option<Pid> {
    let of = format!("\nPPid:\t{parent}\n");
    let compiles = |entry: &fs::DirEntry| {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        read("status").contains(&of) && read("cmdline").contains("compile-worker")
    };
    let found = fs::read_dir("/proc").unwrap().filter_map(Result::ok).find(compiles)?;
    Pid::from_raw(found.file_name().to_str()?.parse().ok()?)
}

/// Starts a verb, kills the compiler it has, and returns its exit status and what it says.
fn with_its_compiler_killed(verb: &mut Command) -> (Option<i32>, String) {
    let mut child = verb.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = Log::of(child.stderr.take().unwrap());
    let worker = until("it has a compiler", || {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", log.text());
        compiler(child.id())
    });
    kill_process(worker, Signal::KILL).unwrap();
    let status = within(PATIENCE, "it ends", || child.try_wait().unwrap());
    (status.code(), log.whole())
}

/// Has a job fail, and returns the record of it.
fn record(dir: &Path) -> String {
    let setup = Setup::one("record = \"failures\"\n", &Program::new().trap().wasm());
    let daemon = setup.prepend("record_dir = \"failures\"\n").start();
    assert_eq!(daemon.get("/").status(), 502);
    let file = until("the failed job to be recorded", || {
        let entries = fs::read_dir(daemon.path("failures")).unwrap().map(|entry| entry.unwrap().path());
        entries.into_iter().find(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))
    });
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
        let (status, said) = with_its_compiler_killed(portcullis().args(verb).current_dir(&dir));

        assert_eq!(status, Some(1), "{verb:?}: {said}");
        assert!(said.contains("one.wasm: the compiler was killed: "), "{verb:?}: {said}");
    }
}
