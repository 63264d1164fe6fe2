//! Signals that arrive before the daemon can handle them, or when it no longer can.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::{Signal, kill_process};

use crate::harness::{Daemon, PATIENCE, Setup, finish, portcullis};
use crate::lifecycle::{configuration, hello};
use crate::upgrade::{Successors, copied_to, successor};

/// Starts a daemon with a signal pending: a blocked signal stays pending across exec(2).
fn sent(signal: &str, setup: Setup) -> Setup {
    let (block, script) =
        (format!("--block-signal={signal}"), format!("kill -{signal} $$; exec \"$0\" \"$@\""));
    setup.under(&["env", &block, "sh", "-c", &script])
}

#[test]
fn a_hangup_before_the_daemon_listens_for_any_is_a_reload_after_its_start() {
    let daemon = sent("HUP", Setup::one("", &hello())).start();

    daemon.log.line("reloaded: generation 2");
    assert_eq!(daemon.get("/").text(), "hello\n");
    // Later signals are handled as well; nothing stays blocked.
    daemon.signal(Signal::HUP);
    daemon.log.line("reloaded: generation 3");
}

#[test]
fn an_end_before_the_daemon_listens_for_any_is_a_good_one() {
    for signal in ["TERM", "INT"] {
        let ended = sent(signal, Setup::one("", &hello())).fail();

        assert_eq!(ended.code, Some(0), "{signal}: {}", ended.stderr);
    }
}

/// Starts a daemon that upgrades itself; the script runs before the new process.
fn replaced_through(script: &str) -> Daemon {
    let setup = Setup::new(&configuration("[\"tcp://127.0.0.1:0\"]", "admin = \"unix://admin.sock\"\n"))
        // A hardened daemon may not run the shell that runs the script.
        .prepend("hardening.files = false\n");
    let program = setup.path("program");
    copied_to(&program);
    let start = format!("exec {} serve -c \"$3\"", program.display());
    let daemon = setup.file("one.wasm", &hello()).under(&["sh", "-c", &start]).start();
    let beside = daemon.path("program.new");
    fs::write(&beside, format!("#!/bin/sh\n{script}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_portcullis")))
        .unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(beside, program).unwrap();
    daemon
}

/// A script that waits for a file `go` beside the configuration.
const WAITS: &str = "until [ -e \"$(dirname \"$0\")/go\" ]; do sleep 0.01; done";

/// Ends a daemon that was replaced by an upgrade.
fn end(mut daemon: Daemon, successors: &Successors) {
    kill_process(*successors.0.last().unwrap(), Signal::TERM).unwrap();
    // The log ends only with the last process.
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

#[test]
fn a_hangup_does_not_end_the_new_process_of_an_upgrade() {
    let daemon = replaced_through("kill -HUP $$; kill -USR2 $$");

    daemon.signal(Signal::USR2);

    let successors = Successors(vec![successor(&daemon, 1)]);
    assert_eq!(daemon.get("/").text(), "hello\n");
    kill_process(successors.0[0], Signal::HUP).unwrap();
    daemon.log.line("reloaded: generation 2");
    end(daemon, &successors);
}

#[test]
fn a_hangup_during_an_upgrade_is_a_reload_of_the_new_process() {
    let daemon = replaced_through(WAITS);
    daemon.signal(Signal::USR2);
    daemon.log.line("is starting");
    daemon.signal(Signal::HUP);
    daemon.log.line("reload (SIGHUP): queued behind the change in progress");

    fs::write(daemon.path("go"), "").unwrap();
    let successors = Successors(vec![successor(&daemon, 1)]);

    daemon.log.line("reload (SIGHUP): passed on to process ");
    daemon.log.line("reloaded: generation 2");
    end(daemon, &successors);
}

#[test]
fn a_reload_that_was_asked_for_during_an_upgrade_is_not_said_to_be_done() {
    let daemon = replaced_through(WAITS);
    daemon.signal(Signal::USR2);
    daemon.log.line("is starting");
    let admin = daemon.path("admin.sock");
    let asked = std::thread::spawn(move || {
        finish(portcullis().args(["reload", "--socket"]).arg(admin), b"", PATIENCE)
    });
    daemon.log.lines(2, "+job reload()");

    fs::write(daemon.path("go"), "").unwrap();
    let successors = Successors(vec![successor(&daemon, 1)]);

    let told = asked.join().unwrap();
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(told.stderr.contains("another process has taken over meanwhile: ask again"), "{}", told.stderr);
    end(daemon, &successors);
}
