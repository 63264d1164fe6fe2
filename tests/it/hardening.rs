//! How the daemon restricts itself at the start, observed from outside.

use std::fs;
use std::process::Stdio;

use rustix::process::Signal;

use crate::harness::{
    Client, Daemon, Landlock, PATIENCE, Program, Response, Setup, portcullis, reaped, until,
};

/// Reads a field of proc_pid_status(5).
fn status(process: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{field} in {text}")).trim().to_owned()
}

/// Returns the field for this test itself, and thus for a daemon without restrictions of its own.
fn ours(field: &str) -> String {
    status(std::process::id(), field)
}

fn hello() -> Setup {
    Setup::one("", &Program::text().say("hello\n").wasm()).prepend("admin = \"unix://admin.sock\"\n")
}

/// Makes the daemon read a configuration in another place, and nothing else.
fn plan(daemon: &Daemon, file: &std::path::Path) -> Response {
    let mut client = Client::unix(&daemon.path("admin.sock"));
    let target = format!("/jobs/plan?a={}", file.display());
    client.send(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    client.response()
}

/// A configuration in another directory, to which none of the daemon's places leads.
fn elsewhere() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("other.toml"), "listen = [\"tcp://127.0.0.1:0\"]\n").unwrap();
    dir
}

/// Reports whether this kernel supports Landlock as the daemon needs it.
fn has_landlock(daemon: &Daemon) -> bool {
    daemon.log.line("hardening: ");
    !daemon.log.text().contains("does not allow files")
}

#[test]
fn the_daemon_gives_up_privileges_capabilities_core_dumps_and_system_calls() {
    let daemon = hello().start();

    assert_eq!(daemon.get("/").text(), "hello\n");
    assert_eq!(status(daemon.pid(), "NoNewPrivs"), "1");
    assert_eq!(status(daemon.pid(), "Seccomp"), "2");
    for field in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        let left = u64::from_str_radix(&status(daemon.pid(), field), 16).unwrap();
        // capability.h: DAC_OVERRIDE 1, FOWNER 3, NET_BIND_SERVICE 10.
        assert_eq!(left & !(1 << 1 | 1 << 3 | 1 << 10), 0, "{field}");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    daemon.log.line("hardening: no new privileges, no core dumps, capabilities: ");
    daemon.log.line("refused (seccomp)");
}

#[test]
fn every_thread_has_given_them_up() {
    let daemon = hello().start();

    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    // A thread may end meanwhile.
    let read = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    let statuses: Vec<String> = read.collect();

    assert!(statuses.len() > 2, "{statuses:?}");
    for status in statuses {
        assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
    }
}

#[test]
fn each_step_can_be_left_out() {
    let daemon =
        hello().prepend("hardening = { privileges = false, files = false, syscalls = false }\n").start();

    assert_eq!(daemon.get("/").text(), "hello\n");
    for field in ["NoNewPrivs", "Seccomp", "CapEff"] {
        assert_eq!(status(daemon.pid(), field), ours(field), "{field}");
    }
    let elsewhere = elsewhere();
    assert_eq!(plan(&daemon, &elsewhere.path().join("other.toml")).status(), 200);
    assert!(!daemon.log.text().contains("hardening: "), "{}", daemon.log.text());
}

#[test]
fn a_kernel_without_landlock_is_told_of_and_served_on() {
    const NEEDS: &str = "Landlock needs Linux 5.19";
    let elsewhere = elsewhere();
    let mount = "mounts = [{ host = \".\", guest = \"/here\" }]";
    for (settings, warnings) in [("", 1), ("hardening.files = false\n", 0)] {
        let setup = hello().handler("files", mount, &Program::text().wasm());
        let daemon = Landlock::Missing.start(setup.prepend(settings));

        assert_eq!(daemon.get("/").text(), "hello\n");
        assert_eq!(plan(&daemon, &elsewhere.path().join("other.toml")).status(), 200);
        // The other steps are taken all the same.
        daemon.log.line("refused (seccomp)");
        let itself = format!("WARN hardening: this host does not allow files: {NEEDS}");
        let handlers = format!("WARN file operations of handlers are not confined by the kernel: {NEEDS}");
        assert_eq!((daemon.log.count(&itself), daemon.log.count(&handlers)), (warnings, 1));
    }
}

#[test]
fn the_kernel_keeps_the_daemon_from_files_that_its_configuration_does_not_name() {
    let elsewhere = elsewhere();
    let file = elsewhere.path().join("other.toml");
    let daemon = hello().start();
    if !has_landlock(&daemon) {
        return;
    }

    let refused = plan(&daemon, &file);

    assert!(refused.text().contains("Permission denied"), "{}", refused.text());
    // Files beside the configuration are reachable.
    fs::copy(&file, daemon.path("other.toml")).unwrap();
    let read = plan(&daemon, &daemon.path("other.toml"));
    assert!(!read.text().contains("Permission denied"), "{}", read.text());
}

#[test]
fn a_reload_that_needs_more_than_is_left_says_so_and_one_within_reach_is_taken_up() {
    let (far, near) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let reach = format!("hardening.reach = [{:?}]\n", near.path());
    let daemon = hello().prepend(&reach).start();
    if !has_landlock(&daemon) {
        return;
    }
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    let with_mount = |dir: &std::path::Path| {
        let mount = format!("module = \"one.wasm\"\nmounts = [{{ host = {dir:?}, guest = \"/x\" }}]\n");
        fs::write(&config, text.replace("module = \"one.wasm\"\n", &mount)).unwrap();
        daemon.signal(Signal::HUP);
    };

    with_mount(far.path());
    let refusal = daemon.log.line("needs restart: handler.one.mounts: ");
    assert!(refusal.contains(&format!("{} (read)", far.path().display())), "{refusal}");

    with_mount(near.path());
    daemon.log.line("reloaded: generation 2");
    assert_eq!(daemon.get("/").text(), "hello\n");
}

#[test]
fn a_directory_that_cannot_be_made_is_not_to_be_named_in_reach() {
    let far = tempfile::tempdir().unwrap();
    // Not even root makes a directory in a file.
    fs::write(far.path().join("plain"), "").unwrap();
    let daemon = hello().start();
    if !has_landlock(&daemon) {
        return;
    }
    let config = daemon.path("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    let granted = text.replace("module = \"one.wasm\"\n", "module = \"one.wasm\"\nstores = [\"a\"]\n");
    let store = format!("[store.a]\nurl = \"redb:{}/plain/dir/a.redb\"\n", far.path().display());

    fs::write(&config, format!("{granted}\n{store}")).unwrap();
    daemon.signal(Signal::HUP);

    let refusal = daemon.log.line("needs restart: handler.one.stores: ");
    assert!(refusal.contains("make the directory, and start again"), "{refusal}");
}

#[test]
fn an_upgrade_inherits_what_was_given_up_and_does_not_pile_it_up() {
    let mut daemon = hello().start();
    let filters = status(daemon.pid(), "Seccomp_filters");

    daemon.signal(Signal::USR2);

    let line = daemon.log.line("upgrade: process ");
    let line = if line.contains(" serves") { line } else { daemon.log.line(" serves") };
    let successor = line.split("process ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(daemon.get("/").text(), "hello\n");
    assert_eq!(status(successor, "NoNewPrivs"), "1");
    assert_eq!(status(successor, "Seccomp_filters"), filters);
    let pid = rustix::process::Pid::from_raw(i32::try_from(successor).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    // Its log ends when the second process ends.
    assert_eq!(daemon.wait(PATIENCE).code, Some(0));
}

#[test]
fn a_child_that_compiles_keeps_next_to_nothing() {
    let mut child = portcullis()
        .arg("compile-worker")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let filters = |process: u32| status(process, "Seccomp_filters").parse::<u32>().unwrap();

    // Refused calls, clone3, and on x86-64 the alternative numbers of all calls.
    let own = if cfg!(target_arch = "x86_64") { 3 } else { 2 };

    // It waits for its module after it has confined itself.
    until("it is confined", || (filters(child.id()) == filters(std::process::id()) + own).then_some(()));

    assert_eq!(status(child.id(), "CapEff"), "0000000000000000");
    assert_eq!(status(child.id(), "NoNewPrivs"), "1");
    drop(child.stdin.take());
    assert_eq!(reaped(&mut child, PATIENCE).code(), Some(1), "no module is no module");
}
