//! Verbs and their output: a reader that leaves, a full disk, a daemon that does not answer.

use std::fs::{self, OpenOptions};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Client, Daemon, Ended, PATIENCE, Program, Setup, finish, output, portcullis, within};

fn daemon() -> Daemon {
    Setup::one("", &Program::text().say("hi").wasm()).prepend("admin = \"unix://admin.sock\"\n").start()
}

/// A verb that talks to this daemon.
fn verb(daemon: &Daemon, words: &[&str]) -> Command {
    let mut command = portcullis();
    command.args(words).arg("--socket").arg(daemon.path("admin.sock"));
    command
}

/// Starts a command whose stdout has no reader any more.
fn unread(command: &mut Command) -> Child {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap();
    drop(child.stdout.take());
    child
}

/// Waits for a command, and returns its exit code and its stderr.
fn ended(child: Child) -> (Option<i32>, String) {
    let ended = output(child, PATIENCE);
    (ended.code, ended.stderr)
}

#[test]
fn followers_whose_reader_has_gone_end_quietly_and_do_not_lock_operators_out() {
    let daemon = daemon();
    // More than may follow at once. Nothing is logged meanwhile, so no failing write tells them that the reader
    // is gone.
    for _ in 0..3 {
        let children: Vec<Child> = (0..14).map(|_| unread(&mut verb(&daemon, &["logs", "-f"]))).collect();
        for child in children {
            assert_eq!(ended(child), (Some(0), String::new()));
        }
        within(PATIENCE, "the end of their jobs", || {
            let jobs = finish(&mut verb(&daemon, &["jobs", "--json"]), b"", PATIENCE).stdout;
            let jobs = String::from_utf8_lossy(&jobs).replace(": ", ":");
            (jobs.starts_with('[') && !jobs.contains("\"handler\":\"logs\"")).then_some(())
        });
    }
    let follow = || {
        let mut client = Client::unix(&daemon.path("admin.sock"));
        client.send("POST /jobs/logs?a=-f HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client
    };
    drop((0..32).map(|_| follow()).collect::<Vec<_>>());

    within(PATIENCE, "the places of those who have left", || {
        let mut client = Client::unix(&daemon.path("admin.sock"));
        client.send("POST /jobs/logs HTTP/1.1\r\nHost: localhost\r\n\r\n");
        (client.response().status() == 200).then_some(())
    });
}

#[test]
fn a_verb_whose_reader_has_gone_ends_quietly() {
    let daemon = daemon();
    for words in [&["commands"][..], &["status"], &["handlers", "--json"], &["logs"]] {
        assert_eq!(ended(unread(&mut verb(&daemon, words))), (Some(0), String::new()), "{words:?}");
    }
    assert_eq!(ended(unread(portcullis().arg("--help"))), (Some(0), String::new()));
    let mut run = portcullis();
    run.arg("run").arg(daemon.path("one.wasm"));
    let (_, said) = ended(unread(&mut run));
    assert_eq!(said, "");
}

#[test]
fn what_cannot_be_printed_is_status_1_and_told_once() {
    let daemon = daemon();
    let module = daemon.path("one.wasm").display().to_string();
    let config = daemon.path("portcullis.toml").display().to_string();
    let plain = |words: &[&str]| {
        let mut command = portcullis();
        command.args(words);
        command
    };
    let commands = [
        verb(&daemon, &["status"]),
        verb(&daemon, &["routes", "--json"]),
        verb(&daemon, &["reload"]),
        verb(&daemon, &["logs"]),
        plain(&["check", "-c", &config]),
        plain(&["run", &module]),
        plain(&["run", "version"]),
        plain(&["--version"]),
        plain(&["serve", "--help"]),
    ];
    // A request, so that `logs` has a line to print.
    daemon.client().get("/");
    for mut command in commands {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).spawn().unwrap();

        let (code, said) = ended(child);

        if said.is_empty() && format!("{command:?}").contains("\"logs\"") {
            // Logs of jobs that end well are not kept, so it had nothing to print.
            continue;
        }
        assert_eq!(code, Some(1), "{command:?}: {said}");
        assert_eq!(said, "portcullis: stdout cannot be written: No space left on device (os error 28)");
    }
}

#[test]
fn a_verb_that_reads_does_not_wait_for_ever_for_a_daemon_that_is_stopped() {
    let daemon = daemon();
    daemon.signal(Signal::STOP);

    let verbs = ["status", "handlers", "routes", "jobs", "commands", "logs", "history"];
    let children: Vec<Child> = verbs
        .iter()
        .map(|name| {
            let mut command = verb(&daemon, &[name]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (child, name) in children.into_iter().zip(verbs) {
        let (code, said) = ended(child);
        assert_eq!(code, Some(1), "{name}");
        assert!(said.contains("has not answered within 10s: its process is stopped"), "{name}: {said}");
    }
    daemon.signal(Signal::CONT);
}

#[test]
fn the_log_of_a_handler_that_there_is_not_is_an_error_that_names_those_there_are() {
    let daemon = daemon();
    for words in [&["logs", "nosuch"][..], &["logs", "-f", "nosuch"]] {
        let ended = finish(&mut verb(&daemon, words), b"", PATIENCE);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let wanted =
            "there is no handler or job \"nosuch\"; handlers: one; jobs of the daemon: acceptconnections, ";
        assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
    }
    for known in ["one", "reload"] {
        assert_eq!(finish(&mut verb(&daemon, &["logs", known]), b"", PATIENCE).code, Some(0));
    }
}

/// A module that prints its arguments, each terminated by NUL.
fn arguments() -> TempDir {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
          (drop (call $sizes (i32.const 0) (i32.const 4)))
          (drop (call $get (i32.const 64) (i32.const 1024)))
          (i32.store (i32.const 8) (i32.const 1024))
          (i32.store (i32.const 12) (i32.load (i32.const 4)))
          (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"#;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("wc.wasm"), wat::parse_str(text).unwrap()).unwrap();
    fs::write(dir.path().join("p.toml"), "[handler.wc]\nmodule = \"wc.wasm\"\n").unwrap();
    dir
}

fn run(dir: &TempDir, words: &[&str]) -> Ended {
    finish(portcullis().arg("run").args(words).current_dir(dir.path()), b"", PATIENCE)
}

#[test]
fn what_is_behind_a_module_is_the_modules() {
    let dir = arguments();
    let told = |words: &[&str]| {
        let ended = run(&dir, words);
        assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
        let all = String::from_utf8(ended.stdout).unwrap();
        all.split_terminator('\0').skip(1).map(str::to_owned).collect::<Vec<_>>()
    };

    assert_eq!(told(&["./wc.wasm", "-c"]), ["-c"]);
    assert_eq!(told(&["wc.wasm", "-e", "--help", "--", "x"]), ["-e", "--help", "--", "x"]);
    assert_eq!(told(&["-e", "A=b", "./wc.wasm", "--", "-c"]), ["-c"]);
    assert_eq!(told(&["./wc.wasm"]), [""; 0]);
    // After a handler's name, which is not a module, flags of `run` may still follow.
    assert_eq!(told(&["wc", "-c", "p.toml", "-l"]), ["-l"]);
    assert_eq!(told(&["-c", "p.toml", "wc", "--", "-c"]), ["-c"]);
    for wrong in [&["--nonsense"][..], &["-x", "./wc.wasm"], &[], &["wc", "-c"]] {
        assert_eq!(run(&dir, wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn a_wrong_option_of_a_swap_is_named_as_it_is_written() {
    let daemon = daemon();
    let module = daemon.path("one.wasm").display().to_string();
    for (words, wanted) in [
        (&["--canary", "200"][..], "--canary <PERCENT>': wanted 1% to 99%"),
        (&["--canary", "5", "--for", "soon"], "--for <TIME>': wanted a duration"),
        (&["--canary", "5", "--requests", "0"], "--requests <NUMBER>': wanted a whole number"),
        (
            &["--canary", "5", "--slower", "0"],
            "--slower <FACTOR>': wanted a whole number from 1 to 1000, or \"none\"",
        ),
        (&["--for", "5s"], "--canary <PERCENT>"),
    ] {
        let words = [&["swap", "one", &module], words].concat();
        let ended = finish(&mut verb(&daemon, &words), b"", PATIENCE);

        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
        assert!(
            !["CANARY", "FOR", "REQUESTS"].iter().any(|name| ended.stderr.contains(name)),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_swap_to_a_file_that_is_no_module_names_the_file() {
    let daemon = daemon();
    let file = daemon.path("notes.txt").display().to_string();
    fs::write(&file, "Hello, I am text").unwrap();

    let ended = finish(&mut verb(&daemon, &["swap", "one", &file]), b"", PATIENCE);

    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let wanted = format!("portcullis: {file}: not a WebAssembly module: it starts with ");
    assert!(ended.stderr.starts_with(&wanted), "{}", ended.stderr);
}

#[test]
fn the_version_names_the_commit_and_wasmtime() {
    let told =
        |words: &[&str]| String::from_utf8(finish(portcullis().args(words), b"", PATIENCE).stdout).unwrap();
    let shown = told(&["--version"]);
    let version: serde_json::Value = serde_json::from_str(&told(&["run", "version"])).unwrap();

    let wasmtime = version["wasmtime"].as_str().unwrap();
    assert!(wasmtime.starts_with("48."), "{wasmtime}");
    let commit = match version["commit"].as_str() {
        Some(commit) => format!("commit {commit}, "),
        None => String::new(),
    };
    assert_eq!(shown, format!("portcullis {} ({commit}wasmtime {wasmtime})\n", env!("CARGO_PKG_VERSION")));
    let head = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    if let Some(head) = head.ok().filter(|output| output.status.success()) {
        let head = String::from_utf8(head.stdout).unwrap();
        assert_eq!(version["commit"], head.trim());
    }
}

#[test]
fn check_tells_each_mistake_once_and_where() {
    let setup = Setup::new(
        "listen = [\"unix://a.sock\", \"unix://./a.sock\"]\nadmin = \"unix://x/../a.sock\"\n\
         [handler.one]\nmodule = \"one.wasm\"\n[handler.status]\nmodule = \"one.wasm\"\n\
         [[route]]\npath = \"/\"\nhandler = \"one\"\n[[route]]\npath = \"/\"\nhandler = \"one\"\n\
         [[route]]\npath = \"/s\"\nhandler = \"status\"\n",
    )
    .file("one.wasm", &Program::text().say("hi").wasm());
    fs::create_dir(setup.path("x")).unwrap();
    let dir = setup.path("");

    let ended = finish(portcullis().arg("check").current_dir(&dir), b"", PATIENCE);

    assert_eq!(ended.code, Some(1));
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !line.contains("warning: ")).collect();
    let wanted = [
        ":1: listen[1]: \"unix://./a.sock\" is in this list already",
        ":2: admin: \"unix://",
        ":5: handler.status: this is the name of a built-in job: choose another",
        ":10: route[1]: ",
    ];
    assert_eq!(lines.len(), wanted.len(), "{}", ended.stderr);
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.contains(wanted), "{wanted}: {}", ended.stderr);
    }
    assert!(lines[1].contains("is used by listen already: choose another"), "{}", ended.stderr);
}

#[test]
fn a_new_handler_is_not_called_like_a_built_in_job() {
    let dir = tempfile::tempdir().unwrap();

    let ended =
        finish(portcullis().args(["new", "reload"]).current_dir(dir.path()), b"", Duration::from_secs(60));

    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("the name of a built-in job: choose one like \"reload-handler\""),
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_failed_upgrade_is_told_with_one_prefix() {
    let daemon = daemon();
    // An error that the next process reports itself: it starts with the changed file.
    fs::write(daemon.path("portcullis.toml"), "admin = \"unix://admin.sock\"\nnonsense = 1\n").unwrap();

    let ended = finish(&mut verb(&daemon, &["upgrade"]), b"", PATIENCE);

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("nonsense"), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("portcullis: ").count(), 1, "{}", ended.stderr);
}
