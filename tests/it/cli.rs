//! The command line: verbs that do not serve requests.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{
    Ended, Origin, PATIENCE, Program, Setup, cpu_time, finish, guests, output, portcullis, until,
};

/// Runs `portcullis run` in a directory of its own that holds `guest.wasm`.
fn run(program: &Program, args: &[&str], stdin: &[u8]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("guest.wasm"), program.wasm()).unwrap();
    run_in(&dir, args, stdin)
}

fn run_in(dir: &TempDir, args: &[&str], stdin: &[u8]) -> Ended {
    finish(portcullis().arg("run").args(args).current_dir(dir.path()), stdin, PATIENCE)
}

#[test]
fn stdin_and_stdout_of_a_run_are_unchanged() {
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();

    let ended = run(&Program::new().echo(), &["guest.wasm"], &bytes);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout == bytes, "{} bytes came back", ended.stdout.len());
    assert_eq!(ended.stderr, "");
}

#[test]
fn the_exit_status_of_a_run_is_the_jobs() {
    for (program, status) in [
        (Program::new(), 0),
        (Program::new().exit(1), 1),
        (Program::new().exit(42), 42),
        (Program::new().trap(), 134),
        (Program::new().code("(drop (memory.grow (i32.const 0x10000))) unreachable"), 137),
    ] {
        let ended = run(&program, &["guest.wasm"], b"");

        assert_eq!(ended.code, Some(status), "{}", ended.stderr);
    }
}

#[test]
fn stderr_of_a_run_is_unchanged() {
    let ended = run(&Program::new().complain("one\ntwo"), &["guest.wasm"], b"");

    assert_eq!(ended.stderr, "one\ntwo");
}

#[test]
fn a_trap_in_a_run_is_told_with_its_stack() {
    let ended = run(&Program::new().trap(), &["guest.wasm"], b"");

    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(
        lines,
        ["portcullis: guest.wasm: trapped: wasm `unreachable` instruction executed", "portcullis:   0: main"]
    );
}

#[test]
fn variables_are_given_to_a_run_and_none_are_inherited() {
    let ended = run(&Program::new().environment(), &["-e", "A=1", "-e", "B=x=y", "guest.wasm"], b"");

    assert_eq!(ended.stdout, b"A=1\0B=x=y\0");
}

#[test]
fn a_handler_is_run_by_its_name() {
    let module = Program::new().environment().echo().wasm();
    let setup = Setup::one("env = { GREETING = \"hi\" }", &module);
    let file = setup.path("portcullis.toml");

    let ended = finish(portcullis().args(["run", "-c"]).arg(file).arg("one"), b"in", PATIENCE);

    assert_eq!(ended.stdout, b"GREETING=hi\0in", "{}", ended.stderr);
}

#[test]
fn a_name_that_is_nobodys_is_one_line_that_says_who_there_is() {
    let setup = Setup::one("", &Program::new().wasm());
    let file = setup.path("portcullis.toml");

    let ended = finish(portcullis().args(["run", "-c"]).arg(&file).arg("two"), b"", PATIENCE);

    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        format!(
            "portcullis: \"two\" is not a handler of {} (it has: one); for a module, name its file",
            file.display()
        )
    );
}

/// Returns the nice(2) value of each thread of a process: proc_pid_stat(5), field 19.
fn nice_values(process: u32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    // A thread may end meanwhile.
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    let nice = |stat: String| {
        let behind_name = stat.rsplit_once(')').unwrap().1;
        behind_name.split_whitespace().nth(16).unwrap().parse().unwrap()
    };
    stats.map(nice).collect()
}

#[test]
fn a_run_that_computes_for_long_keeps_the_priority_of_its_terminal() {
    // The job ends by itself, even if this test fails.
    let setup = Setup::one("limits.cpu = \"3s\"", &Program::new().spin().wasm());
    let mut run = portcullis();
    run.args(["run", "-c"]).arg(setup.path("portcullis.toml")).arg("one");
    let child = run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = child.id();
    let own = rustix::process::getpriority_process(None).unwrap();

    until("it has computed for a second", || (cpu_time(process) > Duration::from_secs(1)).then_some(()));
    let found = nice_values(process);

    assert!(found.iter().all(|nice| *nice == own), "{found:?}, and {own} here");
    assert_eq!(output(child, PATIENCE).code, Some(124));
}

#[test]
fn a_limit_holds_in_a_run_as_well() {
    let setup = Setup::one("limits.time = \"100ms\"", &Program::new().sleep_for_ever().wasm());
    let file = setup.path("portcullis.toml");

    let ended = finish(portcullis().args(["run", "-c"]).arg(file).arg("one"), b"", PATIENCE);

    assert_eq!(ended.code, Some(124));
    assert_eq!(ended.stderr, "portcullis: one: stopped at its time limit of 100ms (limits.time)");
}

#[test]
fn built_in_jobs_are_run_by_their_names() {
    let ended = finish(portcullis().args(["run", "version"]), b"", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let version: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    let status = |args: &[&str]| finish(portcullis().args(args), b"", PATIENCE).code;

    assert_eq!(status(&[]), Some(2));
    assert_eq!(status(&["swim"]), Some(2));
    assert_eq!(status(&["serve", "--tlsno"]), Some(2));
    assert_eq!(status(&["serve", "-H", "ftp://x"]), Some(2));
    assert_eq!(status(&["--help"]), Some(0));
    assert_eq!(status(&["serve", "--help"]), Some(0));
    assert_eq!(status(&["--version"]), Some(0));
}

#[test]
fn a_configuration_that_is_not_there_is_one_line() {
    let dir = tempfile::tempdir().unwrap();

    let ended = finish(portcullis().arg("serve").current_dir(dir.path()), b"", PATIENCE);

    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("portcullis: portcullis.toml: "), "{}", ended.stderr);
}

#[test]
fn a_build_of_a_directory_without_handlers_says_that_nothing_is_built() {
    let dir = tempfile::tempdir().unwrap();

    let ended = finish(portcullis().arg("build").current_dir(dir.path()), b"", PATIENCE);

    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 0), "{}", ended.stderr);
    assert!(ended.stderr.contains("has no crate and no .wat file, so nothing is built"), "{}", ended.stderr);
}

#[test]
fn a_new_handler_is_built_and_served() {
    /// The time limit for building the SDK and its dependencies on a slow machine, behind a cold build of all guests in
    /// the same directory.
    const BUILD: Duration = Duration::from_secs(1500);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let setup = Setup::new("");
    let dir = setup.path("portcullis.toml").parent().unwrap().to_owned();

    for words in
        [&["new", "hi"][..], &["new", "counts", "--template", "store"], &["new", "book", "--template", "sql"]]
    {
        let made = finish(portcullis().args(words).current_dir(&dir), b"", PATIENCE);
        assert_eq!(made.code, Some(0), "{words:?}: {}", made.stderr);
    }

    let built =
        finish(portcullis().arg("build").current_dir(&dir).env("CARGO_TARGET_DIR", target), b"", BUILD);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let state = setup.path("state");
    let daemon = setup.env("XDG_STATE_HOME", state).start();
    assert_eq!(daemon.get("/hi/ada").text(), "Hello, ada!\n");
    for visit in 1..=2 {
        for handler in ["counts", "book"] {
            let wanted = format!("Hello, ada! Visits: {visit}\n");
            assert_eq!(daemon.get(&format!("/{handler}/ada")).text(), wanted, "{handler}");
        }
    }
}

#[test]
fn a_module_that_is_run_asks_whom_it_may() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(guests().join("fetch-wasip2.wasm"), dir.path().join("fetch.wasm")).unwrap();
    let origin = Origin::text("127.0.0.1", "hello");
    let url = format!("http://127.0.0.1:{}", origin.port());
    let env = ["-e", "REQUEST_METHOD=POST", "-e", "REQUEST_URI=/"];
    let run = |args: &[&str]| {
        run_in(&dir, &[&env, args, &["./fetch.wasm"]].concat(), format!("GET {url}/").as_bytes())
    };

    let (allowed, denied) = (run(&["--allow", &url, "--allow-address", "127.0.0.1"]), run(&[]));
    let (forgotten, idle) = (run(&["--allow", &url]), run(&["--allow-address", "127.0.0.1"]));

    assert!(allowed.stdout.ends_with(b"200 hello\n"), "{allowed:?}");
    assert!(String::from_utf8_lossy(&denied.stdout).contains("denied: "), "{denied:?}");
    assert!(forgotten.stderr.contains("add --allow-address 127.0.0.1"), "{}", forgotten.stderr);
    assert!(idle.stderr.contains("add --allow http://HOST:PORT"), "{}", idle.stderr);
    assert_eq!(origin.hits(), 1);
}
