//! Paths and sockets that the daemon cannot use: `check` reports them before a start, and `serve` at the start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, Mode, mknodat};

use crate::harness::{Client, Ended, PATIENCE, Program, Setup, finish, found, portcullis};
use crate::upgrade::copied_to;

/// A daemon with one handler; `lines` are at the top of its configuration.
fn setup(lines: &str) -> Setup {
    Setup::one("", &Program::text().say("hello\n").wasm()).prepend(lines)
}

fn check(setup: &Setup) -> Ended {
    let file = setup.path("portcullis.toml");
    // The default cache is below HOME, where it can be made.
    finish(portcullis().env("HOME", setup.path("")).arg("check").arg("-c").arg(file), b"", PATIENCE)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_check_names_every_place_that_a_start_could_not_have_and_makes_none() {
    let setup = setup(
        "listen = [\"unix://none/p.sock\", \"unix://file/p.sock\", \"unix://file\"]\n\
         admin = \"unix://fifo\"\nrecord_dir = \"fifo\"\ncache = \"open\"\n",
    );
    mknodat(CWD, setup.path("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::write(setup.path("file"), "precious").unwrap();
    fs::create_dir(setup.path("open")).unwrap();
    fs::set_permissions(setup.path("open"), fs::Permissions::from_mode(0o755)).unwrap();
    let before = names(&setup.path(""));

    let ended = check(&setup);

    assert_eq!(ended.code, Some(1));
    let dir = setup.path("").display().to_string();
    let dir = dir.trim_end_matches('/');
    let file = format!("portcullis: {dir}/portcullis.toml: ");
    let wanted = [
        format!("unix://{dir}/none/p.sock: the directory {dir}/none does not exist: create it"),
        format!("unix://{dir}/file/p.sock: {dir}/file is not a directory: choose another path"),
        format!(
            "unix://{dir}/file: the path holds a file, which the daemon does not remove: move it away or choose another path"
        ),
        format!(
            "admin: unix://{dir}/fifo: the path holds a named pipe, which the daemon does not remove: move it away or choose another path"
        ),
        format!("record_dir: {dir}/fifo is a named pipe: remove it, or name a directory"),
        format!("cache: others may use {dir}/open (mode 755): wanted 700, `chmod 700 {dir}/open`"),
    ];
    let wanted: Vec<String> = wanted.iter().map(|line| file.clone() + line).collect();
    assert_eq!(ended.stderr.lines().collect::<Vec<_>>(), wanted);
    assert_eq!(names(&setup.path("")), before);
}

#[test]
fn a_check_of_what_a_start_would_make_is_fine_and_makes_nothing() {
    let setup = setup("listen = [\"unix://p.sock\"]\nrecord_dir = \"a/b\"\ncache = \"c/d\"\n");
    let before = names(&setup.path(""));

    let ended = check(&setup);

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(names(&setup.path("")), before);
}

#[test]
fn a_check_beside_a_daemon_that_runs_is_fine_and_unnoticed() {
    // With one connection allowed, any new connection would close the idle client's.
    let setup = setup("listen = [\"unix://p.sock\"]\nhttp.connections = 1\n");
    let (socket, file) = (setup.path("p.sock"), setup.path("portcullis.toml"));
    let _daemon = setup.host(format!("unix://{}", socket.display())).start();
    let mut idle = Client::unix(&socket);
    assert_eq!(idle.get("/").text(), "hello\n");

    let ended = finish(portcullis().arg("check").arg("-c").arg(file), b"", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(idle.get("/").text(), "hello\n");
}

#[test]
fn a_start_gives_the_reason_for_which_it_cannot_have_its_records() {
    let setup = setup("record_dir = \"fifo\"\n");
    let fifo = setup.path("fifo");
    mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();

    let ended = setup.fail();

    let reason =
        format!("portcullis: record_dir: {} is a named pipe: remove it, or name a directory", fifo.display());
    assert_eq!((ended.code, ended.stderr.lines().last()), (Some(1), Some(reason.as_str())));
}

#[test]
fn a_cache_that_cannot_be_had_is_warned_of_and_keeps_nobody_from_starting() {
    let setup = setup("cache = \"file/below\"\n").file("file", b"");

    let daemon = setup.start();

    let warning = daemon.log.line("compiled modules are not kept for the next start: ");
    assert!(warning.ends_with("/file is a file: remove it, or name a directory"), "{warning}");
    assert_eq!(daemon.get("/").text(), "hello\n");
}

/// Returns a command that runs the program as another user than root in the daemon's directory.
/// Returns `None` if the tool for that is missing. A user who is not root runs it as is.
fn as_nobody(setup: &Setup) -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        return Some(portcullis());
    }
    if !found(&["setpriv"], "util-linux") {
        return None;
    }
    // Other users may not be able to read the build directory.
    let program = setup.path("program");
    copied_to(&program);
    fs::set_permissions(setup.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.env_remove("NOTIFY_SOCKET").env("HOME", setup.path("home"));
    Some(command)
}

#[test]
fn what_a_user_may_not_write_to_is_said_in_a_line_by_check_and_by_serve() {
    for (lines, reason) in [
        ("listen = [\"unix://shut/p.sock\"]\n", "may not make a socket in "),
        ("listen = [\"unix://p/p.sock\"]\nadmin = \"unix://shut/a.sock\"\n", "may not make a socket in "),
        ("listen = [\"unix://p/p.sock\"]\nrecord_dir = \"shut/a/b\"\n", "may not write there: `install -d "),
        ("listen = [\"unix://p/p.sock\"]\nunix.group = \"0\"\n", "join the group, or run as root"),
    ] {
        let setup = setup(lines);
        let Some(mut checked) = as_nobody(&setup) else { return };
        for (dir, mode) in [("shut", 0o555), ("home", 0o777), ("p", 0o1777)] {
            fs::create_dir(setup.path(dir)).unwrap();
            fs::set_permissions(setup.path(dir), fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut served = as_nobody(&setup).unwrap();
        let file = setup.path("portcullis.toml");

        let checked = finish(checked.arg("check").arg("-c").arg(&file), b"", PATIENCE);
        let served = finish(served.arg("serve").arg("-c").arg(&file), b"", PATIENCE);

        for ended in [checked, served] {
            assert_eq!(ended.code, Some(1), "{lines}: {}", ended.stderr);
            assert!(ended.stderr.lines().last().unwrap().contains(reason), "{lines}: {}", ended.stderr);
        }
        assert!(names(&setup.path("shut")).is_empty() && names(&setup.path("p")).is_empty());
    }
}

/// Makes a file unreadable for the user of [`as_nobody`].
fn shut(path: &Path) {
    let mode = if rustix::process::geteuid().is_root() { 0o600 } else { 0o000 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_a_user_may_not_read_is_said_with_what_to_do() {
    for name in ["portcullis.toml", "one.wasm"] {
        let setup = setup("listen = [\"tcp://127.0.0.1:0\"]\ncache = \"none\"\n");
        let Some(mut checked) = as_nobody(&setup) else { return };
        let mut served = as_nobody(&setup).unwrap();
        shut(&setup.path(name));
        let file = setup.path("portcullis.toml");

        let checked = finish(checked.arg("check").arg("-c").arg(&file), b"", PATIENCE);
        let served = finish(served.arg("serve").arg("-c").arg(&file), b"", PATIENCE);

        for ended in [checked, served] {
            assert_eq!(ended.code, Some(1), "{name}: {}", ended.stderr);
            let said = ended.stderr.lines().last().unwrap();
            assert!(said.contains(name) && said.contains(" read it and enter its directories"), "{said}");
        }
    }
}

#[test]
fn a_mount_that_a_user_may_not_write_to_is_warned_of_by_a_check() {
    let setup = Setup::one(
        "mounts = [{ host = \"data\", guest = \"/data\", write = true }]",
        &Program::text().say("hello\n").wasm(),
    )
    .prepend("listen = [\"tcp://127.0.0.1:0\"]\ncache = \"none\"\n");
    let Some(mut checked) = as_nobody(&setup) else { return };
    fs::create_dir(setup.path("data")).unwrap();
    fs::set_permissions(setup.path("data"), fs::Permissions::from_mode(0o555)).unwrap();

    let ended = finish(checked.arg("check").arg("-c").arg(setup.path("portcullis.toml")), b"", PATIENCE);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let warning = format!("cannot write to {}, and neither can its jobs", setup.path("data").display());
    assert!(ended.stderr.contains("warning: handler.one.mounts: user "), "{}", ended.stderr);
    assert!(ended.stderr.contains(&warning), "{}", ended.stderr);
}

#[test]
fn a_socket_of_another_user_is_refused_by_check_as_by_serve() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make a socket of another user.
        return;
    }
    let setup = setup("listen = [\"unix://p/p.sock\"]\ncache = \"none\"\n");
    let Some(mut checked) = as_nobody(&setup) else { return };
    fs::create_dir(setup.path("p")).unwrap();
    fs::set_permissions(setup.path("p"), fs::Permissions::from_mode(0o1777)).unwrap();
    let _stale = std::os::unix::net::UnixListener::bind(setup.path("p/p.sock")).unwrap();

    let ended = finish(checked.arg("check").arg("-c").arg(setup.path("portcullis.toml")), b"", PATIENCE);

    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the path holds a socket of user 0, and this is user 65534"),
        "{}",
        ended.stderr
    );
}
