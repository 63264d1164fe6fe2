//! Upgrades of the daemon to a new process, under load and after failures.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, finish, portcullis, until};
use crate::lifecycle::{AS_CONFIGURED, CLOSE, ON_ITS_WAY, configuration, hello, port};
use crate::stores::{add, is_followed, shortener};
use crate::swap::{COMPILING, swap, version};

/// Returns the process that the `count`-th upgrade started.
pub(crate) fn successor(daemon: &Daemon, count: usize) -> Pid {
    let line = daemon.log.lines(count, " serves").pop().unwrap();
    let number = line.split("process ").nth(1).unwrap().split(' ').next().unwrap();
    Pid::from_raw(number.parse().unwrap()).unwrap()
}

/// Processes that upgrades have started. They end with the test.
pub(crate) struct Successors(pub(crate) Vec<Pid>);

impl Drop for Successors {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ended = kill_process(*pid, Signal::KILL);
        }
    }
}

/// Sends requests until it is stopped, and returns the number of answers. If a kept connection is closed
/// before any byte of an answer, the request is sent once more: RFC 9112 §9.3.1 asks that of every client. The same goes
/// for a request that comes too late behind its connection.
fn ask(port: u16, keep: bool, stop: &AtomicBool) -> usize {
    let mut answered = 0;
    let mut kept: Option<TcpStream> = None;
    while !stop.load(Ordering::Relaxed) {
        let (reused, begun) = (kept.is_some(), Instant::now());
        let mut stream = kept.take().unwrap_or_else(|| {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("no connection is refused");
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        });
        let request = if keep { "GET / HTTP/1.1\r\nHost: test\r\n\r\n" } else { CLOSE };
        let sent = stream.write_all(request.as_bytes());
        let is_late = begun.elapsed() >= ON_ITS_WAY;
        match sent.and_then(|()| answer(&mut stream)) {
            Ok(text) if !text.is_empty() => {
                assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("hello\n"), "{text}");
                answered += 1;
                kept = (keep && !text.contains("connection: close")).then_some(stream);
            }
            Ok(_) | Err(_) if reused || is_late => {}
            other => panic!("a request was lost: {other:?}"),
        }
    }
    answered
}

/// Reads one response with a Content-Length. Returns an empty string if the server closed before it.
fn answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = stream.read(&mut piece)?;
        text.extend_from_slice(&piece[..read]);
        let said = String::from_utf8_lossy(&text);
        if read == 0 || said.ends_with("\r\n\r\nhello\n") || said.ends_with("hello\n\r\n0\r\n\r\n") {
            return Ok(said.replace("hello\n\r\n0\r\n\r\n", "hello\n"));
        }
    }
}

#[test]
fn twenty_upgrades_under_load_refuse_no_connection_and_lose_no_request() {
    let setup = Setup::new(&configuration("[\"unix://p.sock\", \"tcp://127.0.0.1:0\"]", "grace = \"5s\"\n"));
    let path = setup.path("p.sock");
    let mut daemon = setup.file("one.wasm", &hello()).under(&AS_CONFIGURED).start();
    let port = port(&daemon, 1);
    let stop = AtomicBool::new(false);
    let mut successors = Successors(Vec::new());

    let answered = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|client| {
                scope.spawn({
                    let stop = &stop;
                    move || ask(port, client % 2 == 0, stop)
                })
            })
            .collect();
        let upgrades = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut current = Pid::from_raw(daemon.pid() as i32).unwrap();
            for count in 1..=20 {
                kill_process(current, Signal::USR2).unwrap();
                current = successor(&daemon, count);
                successors.0.push(current);
                assert_eq!(Client::unix(&path).get("/").text(), "hello\n");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let answered: Vec<usize> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        upgrades.unwrap();
        answered
    });

    assert!(answered.iter().all(|&count| count > 20), "{answered:?}");
    kill_process(*successors.0.last().unwrap(), Signal::TERM).unwrap();
    // The log ends only with the last process.
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
    assert!(!path.exists(), "the last one removes the socket");
    assert_eq!(daemon.log.count("ERROR"), 0, "{}", daemon.log.text());
}

#[test]
fn a_slow_client_of_another_handler_does_not_keep_a_relaxed_store_from_the_new_process() {
    let relaxed = "[store.default]\nurl = \"redb:links.redb\"\ndurability = \"relaxed\"\n";
    let setup = shortener("stores = [\"default\"]", relaxed)
        .prepend("listen = [\"unix://p.sock\", \"tcp://127.0.0.1:0\"]\n")
        .handler("slow", "", &Program::text().say("begun\n").read_once().say("over\n").wasm());
    let path = setup.path("p.sock");
    let daemon = setup.under(&AS_CONFIGURED).start();
    let slug = add(&mut Client::unix(&path));
    let mut slow = Client::unix(&path);
    slow.send("POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    slow.up_to(b"begun\n");

    daemon.signal(Signal::USR2);
    let next = successor(&daemon, 1);
    let _ends = Successors(vec![next]);

    // The old process still has the slow client.
    until("the new process to open the store", || {
        is_followed(&Client::unix(&path).get(&format!("/l/{slug}"))).then_some(())
    });
    slow.send("b");
    slow.up_to(b"over\n");
}

/// Copies the program under test, in another process. What this process writes may be open for writing in a child of
/// another test as well, until that executes its own program. Meanwhile the copy could not be executed: execve(2),
/// `ETXTBSY`.
pub(crate) fn copied_to(place: &Path) {
    let mut copy = Command::new("cp");
    let ended = finish(copy.arg(env!("CARGO_BIN_EXE_portcullis")).arg(place), b"", PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// A daemon whose program can be replaced.
fn replaceable() -> (Daemon, std::path::PathBuf) {
    let setup = Setup::new(&configuration("[\"unix://p.sock\", \"tcp://127.0.0.1:0\"]", ""))
        // A hardened daemon may not run the shell that runs the script.
        .prepend("hardening.files = false\n");
    let program = setup.path("program");
    copied_to(&program);
    let script = format!("exec {} serve -c \"$3\"", program.display());
    let daemon = setup.file("one.wasm", &hello()).under(&["sh", "-c", &script]).start();
    (daemon, program)
}

/// Replaces the program by a script.
fn replace(program: &Path, script: &str) {
    let beside = program.with_extension("new");
    fs::write(&beside, script).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(beside, program).unwrap();
}

#[test]
fn a_new_program_that_fails_leaves_the_old_one_serving() {
    let (mut daemon, program) = replaceable();
    let path = daemon.path("p.sock");

    replace(&program, "#!/bin/sh\necho starting >&2\necho no such luck >&2\nexit 1\n");
    daemon.signal(Signal::USR2);
    let said = daemon.log.line("upgrade failed");

    assert!(said.contains("no such luck"), "{said}");
    assert_eq!(daemon.get("/").text(), "hello\n");
    assert_eq!(Client::unix(&path).get("/").text(), "hello\n");

    fs::remove_file(&program).unwrap();
    daemon.signal(Signal::USR2);
    daemon.log.lines(2, "upgrade failed");
    assert_eq!(daemon.get("/").text(), "hello\n");
    assert_eq!(daemon.terminate().code, Some(0));
    assert!(!path.exists());
}

#[test]
fn a_configuration_that_the_new_process_refuses_leaves_the_old_one_serving() {
    let (daemon, _program) = replaceable();
    let path = daemon.path("p.sock");
    fs::write(daemon.path("one.wasm"), "text").unwrap();

    daemon.signal(Signal::USR2);
    let said = daemon.log.line("upgrade failed");

    assert!(said.contains("handler \"one\": "), "{said}");
    assert_eq!(Client::unix(&path).get("/").text(), "hello\n");
    assert_eq!(daemon.get("/").text(), "hello\n");
}

#[test]
fn a_new_program_that_says_nothing_is_ended_when_the_old_one_is_to_end() {
    let (mut daemon, program) = replaceable();
    let mark = daemon.path("mark");
    replace(
        &program,
        &format!("#!/bin/sh\necho $$ > {0}.new; mv {0}.new {0}\nexec tail -f /dev/null\n", mark.display()),
    );
    daemon.signal(Signal::USR2);
    let silent = until("it has started", || fs::read_to_string(&mark).ok());
    let silent = Pid::from_raw(silent.trim().parse().unwrap()).unwrap();
    assert_eq!(daemon.get("/").text(), "hello\n");

    assert_eq!(daemon.terminate().code, Some(0));

    until("the silent one is ended", || kill_process(silent, Signal::URG).err());
}

#[test]
fn an_upgrade_takes_up_a_changed_configuration_and_leaves_what_is_gone() {
    let setup = Setup::new(&configuration("[\"unix://old.sock\", \"tcp://127.0.0.1:0\"]", ""));
    let (old, new) = (setup.path("old.sock"), setup.path("new.sock"));
    let mut daemon = setup.file("one.wasm", &hello()).under(&AS_CONFIGURED).start();
    let port = port(&daemon, 1);
    let text = configuration("[\"tcp://127.0.0.1:0\", \"unix://new.sock\"]", "jobs = 7\n");
    fs::write(daemon.path("portcullis.toml"), text).unwrap();

    daemon.signal(Signal::USR2);
    let successors = Successors(vec![successor(&daemon, 1)]);

    daemon.log.line("drained");
    assert_eq!(Client::unix(&new).get("/").text(), "hello\n");
    assert_eq!(Client::tcp(port).get("/").text(), "hello\n");
    assert!(!old.exists());
    kill_process(successors.0[0], Signal::TERM).unwrap();
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

#[test]
fn the_verb_hands_the_admin_socket_over_as_well() {
    let config =
        configuration("[\"unix://p.sock\", \"tcp://127.0.0.1:0\"]", "admin = \"unix://admin.sock\"\n");
    let setup = Setup::new(&config).file("one.wasm", &hello()).under(&AS_CONFIGURED);
    let admin = setup.path("admin.sock");
    let mut daemon = setup.start();
    let mut successors = Successors(Vec::new());

    for count in 1..=3 {
        let told = finish(portcullis().args(["upgrade", "--socket"]).arg(&admin), b"", PATIENCE);
        assert_eq!(told.code, Some(0), "{}", told.stderr);
        let next = successor(&daemon, count);
        successors.0.push(next);
        assert!(String::from_utf8(told.stdout).unwrap().contains(&next.as_raw_pid().to_string()));
    }

    let status = finish(portcullis().args(["status", "--json", "--socket"]).arg(&admin), b"", PATIENCE);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    kill_process(*successors.0.last().unwrap(), Signal::TERM).unwrap();
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
    assert!(!admin.exists());
}

#[test]
fn an_upgrade_refuses_to_undo_swaps_and_trials_unless_it_is_told_to() {
    let setup = Setup::new(&configuration(
        "[\"tcp://127.0.0.1:0\"]",
        "admin = \"unix://admin.sock\"\ngrace = \"5s\"\n",
    ));
    let daemon = setup
        .handler("other", "", &version("other"))
        .file("one.wasm", &hello())
        .under(&AS_CONFIGURED)
        .start();
    let socket = daemon.path("admin.sock");
    let upgrade = |args: &[&str]| {
        finish(portcullis().arg("upgrade").args(args).arg("--socket").arg(&socket), b"", COMPILING)
    };
    let trial = "Job-Env: CANARY=50%\r\nJob-Env: FOR=300s\r\n";
    assert_eq!(swap(&daemon, "one", "", &version("swapped")).status(), 200);
    assert_eq!(swap(&daemon, "other", trial, &version("tried")).status(), 200);

    let refused = upgrade(&[]);

    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    for said in ["one: ", " was swapped in", "other: the trial of ", "--force"] {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    assert_eq!(daemon.get("/").text(), "swapped");
    daemon.signal(Signal::USR2);
    assert!(daemon.log.line("upgrade failed").contains("would undo"));

    let forced = upgrade(&["--force"]);

    assert_eq!(forced.code, Some(0), "{}", forced.stderr);
    let _ends = Successors(vec![successor(&daemon, 1)]);
    let said = String::from_utf8(forced.stdout).unwrap();
    assert!(said.contains("lost: one: ") && said.contains("lost: other: the trial of "), "{said}");
    assert_eq!(daemon.log.count("the job that watches the trial has ended"), 0, "{}", daemon.log.text());
    assert_eq!(daemon.get("/").text(), "hello\n");
}

#[test]
fn an_upgrade_goes_on_where_what_was_swapped_in_lies_in_its_file() {
    let setup = Setup::new(&configuration(
        "[\"tcp://127.0.0.1:0\"]",
        "admin = \"unix://admin.sock\"\ngrace = \"5s\"\n",
    ));
    let daemon = setup.file("one.wasm", &hello()).under(&AS_CONFIGURED).start();
    assert_eq!(swap(&daemon, "one", "", &version("swapped")).status(), 200);
    fs::write(daemon.path("one.wasm"), version("swapped")).unwrap();

    daemon.signal(Signal::USR2);

    let _ends = Successors(vec![successor(&daemon, 1)]);
    assert_eq!(daemon.get("/").text(), "swapped");
}
