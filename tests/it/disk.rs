//! Full disks: a file system of one mebibyte, and a log that cannot be written.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Daemon, PATIENCE, Program, Setup, found, guests, within};

/// Reports whether a test may mount a file system of its own. If the host forbids it, as containers
/// do, no package would help, and the test is skipped with a message.
fn mounts() -> bool {
    if !found(&["unshare"], "util-linux") {
        return false;
    }
    let tried = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    let why = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        Err(error) => format!("unshare: {error}"),
    };
    crate::harness::figure(&format!(
        "skipped: {why}: needs user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
    ));
    false
}

/// Starts a daemon that sees a full file system at `full` in its directory.
fn on_full_disk(setup: Setup) -> Daemon {
    let full = setup.path("full");
    fs::create_dir(&full).unwrap();
    let script = "mount -t tmpfs -o size=1m,mode=0700 none \"$0\" && mkdir -m 700 \"$0/data\" \"$0/cache\" \"$0/failures\" \
        && { head -c 2m /dev/zero >\"$0/filler\" 2>/dev/null; exec \"$@\"; }";
    setup.under(&["unshare", "-rm", "sh", "-c", script, full.to_str().unwrap()]).start()
}

/// Returns a path on the daemon's disk, which only the daemon has mounted.
fn on_disk(daemon: &Daemon, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", daemon.pid(), daemon.path("full").join(name).display()))
}

#[test]
fn a_full_disk_costs_what_is_written_to_it_and_nothing_else() {
    if !mounts() {
        return;
    }
    let files = fs::read(guests().join("files.wasm")).unwrap();
    let settings = "output = \"raw\"\nmounts = [{ host = \"full/data\", guest = \"/data\", write = true }]";
    // Without the privilege restrictions, the test can read its memory and its disk through /proc.
    let keys = "hardening.privileges = false\nadmin = \"unix://admin.sock\"\ncache = \"full/cache\"\nrecord_dir = \"full/failures\"\n";
    let setup = Setup::new("")
        .handler("files", settings, &files)
        .handler("bad", "record = \"failures\"", &Program::new().trap().wasm())
        .prepend(keys);
    let daemon = on_full_disk(setup);
    let write = || daemon.client().submit("POST", "/files", "", b"write /data/x content\n").text().to_owned();

    // While the disk is full.
    assert_eq!(write(), "failed StorageFull\n");
    for _ in 0..5 {
        assert_eq!(daemon.get("/bad").status(), 502);
    }
    daemon.counted("portcullis_write_failures_total", &["record"], 5.0);
    daemon.counted("portcullis_write_failures_total", &["cache"], 2.0);
    daemon.counted("portcullis_write_failures_total", &["log"], 0.0);
    assert_eq!(daemon.log.lines(1, "is not recorded: ").len(), 1);
    assert_eq!(daemon.log.lines(1, "a compiled module is not kept in ").len(), 1);

    // After space was freed.
    fs::remove_file(on_disk(&daemon, "filler")).unwrap();
    assert_eq!(write(), "ok \n");
    assert_eq!(fs::read(on_disk(&daemon, "data/x")).unwrap(), b"content");
    assert_eq!(daemon.get("/bad").status(), 502);
    daemon.log.line("failed jobs are recorded again, 5 were not");
    daemon.counted("portcullis_write_failures_total", &["record"], 5.0);
    fs::write(daemon.path("bad.wasm"), Program::text().say("mended").wasm()).unwrap();
    daemon.signal(Signal::HUP);
    daemon.log.line("compiled modules are kept again, 2 were not");
    daemon.log.line("reloaded: generation 2");
    assert_eq!(daemon.get("/bad").text(), "mended");
}

#[test]
fn a_log_that_cannot_be_written_is_counted_and_costs_no_request() {
    let setup = Setup::one("", &Program::text().complain("said\n").say("hi").wasm());
    let socket = setup.path("p.sock");
    let daemon = setup
        .prepend("access_log = true\nadmin = \"unix://admin.sock\"\n")
        .host(format!("unix://{}", socket.display()))
        .under(&["sh", "-c", "exec \"$0\" \"$@\" 2>/dev/full"])
        .start();
    let mut client = crate::harness::Client::unix(&socket);

    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "hi");
    }

    within(PATIENCE, "the lost lines to be counted", || {
        (daemon.metric("portcullis_write_failures_total", &["log"]) >= 40.0).then_some(())
    });
}
