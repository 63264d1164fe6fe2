//! Listening sockets: how they are made, and which files at their paths are left alone.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Client, Ends, Program, Setup, found, free_port, until};

fn hello() -> Setup {
    Setup::one("", &Program::text().say("hello\n").wasm())
}

fn unix(path: &Path) -> String {
    format!("unix://{}", path.display())
}

/// A group that this process may give a file to: any for root, its own for other users.
fn group() -> u32 {
    if rustix::process::geteuid().is_root() { 4321 } else { rustix::process::getegid().as_raw() }
}

/// Polls a file without pause, and returns all modes and groups that it had.
fn watch(path: &Path, enough: &AtomicBool) -> BTreeSet<(u32, u32)> {
    let mut seen = BTreeSet::new();
    loop {
        // One more look after the end: on a busy host this thread may not have run since the file appeared.
        let last = enough.load(Ordering::Acquire);
        seen.extend(fs::symlink_metadata(path).ok().map(|found| (found.mode() & 0o7777, found.gid())));
        if last {
            return seen;
        }
    }
}

#[test]
fn a_socket_is_never_seen_with_another_mode_or_group() {
    let group = group();
    for mode in [0o600, 0o660, 0o606] {
        let setup =
            hello().add(&format!("[unix]\nmode = \"{mode:04o}\"\n")).flag("-G").flag(group.to_string());
        let path = setup.path("p.sock");
        let started = AtomicBool::new(false);

        let (daemon, seen) = std::thread::scope(|scope| {
            let watching = scope.spawn(|| watch(&path, &started));
            let ends = Ends(&started);
            let daemon = setup.host(unix(&path)).start();
            drop(ends);
            (daemon, watching.join().unwrap())
        });

        assert_eq!(seen, BTreeSet::from([(mode, group)]));
        assert_eq!(Client::unix(&path).get("/").text(), "hello\n");
        drop(daemon);
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let setup = hello();
    let path = setup.path("p.sock");
    drop(UnixListener::bind(&path).unwrap());

    let _daemon = setup.host(unix(&path)).start();

    assert_eq!(Client::unix(&path).get("/").text(), "hello\n");
}

#[test]
fn a_live_daemons_socket_is_refused_and_stays() {
    let setup = hello();
    let path = setup.path("p.sock");
    let first = setup.host(unix(&path)).start();
    let before = fs::symlink_metadata(&path).unwrap().ino();

    let ended = hello().host(unix(&path)).fail();

    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        format!(
            "portcullis: {}: another daemon is serving there: stop it or choose another path",
            unix(&path)
        )
    );
    assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), before);
    assert_eq!(Client::unix(&path).get("/").text(), "hello\n");
    drop(first);
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_stays() {
    let setup = hello().file("p.sock", b"letters");
    let path = setup.path("p.sock");

    let (ended, left) = setup.host(unix(&path)).fail_leaving();

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("the daemon does not remove"), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert_eq!(left, ["one.wasm", "p.sock", "portcullis.toml"]);
}

#[test]
fn a_socket_is_removed_at_the_end() {
    let setup = hello();
    let path = setup.path("p.sock");
    let mut daemon = setup.host(unix(&path)).start();
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());

    let ended = daemon.terminate();

    assert_eq!(ended.code, Some(0));
    assert!(!path.exists());
}

#[test]
fn a_socket_that_somebody_else_put_there_meanwhile_stays() {
    let setup = hello();
    let path = setup.path("p.sock");
    let mut daemon = setup.host(unix(&path)).start();
    fs::remove_file(&path).unwrap();
    let theirs = UnixListener::bind(&path).unwrap();

    daemon.terminate();

    assert!(UnixStream::connect(&path).is_ok());
    drop(theirs);
}

#[test]
fn a_port_in_use_is_one_clear_line_and_nothing_is_left_behind() {
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = theirs.local_addr().unwrap();
    let setup = hello();
    let path = setup.path("p.sock");

    let (ended, left) = setup.host(unix(&path)).host(format!("tcp://{address}")).fail_leaving();

    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        format!(
            "portcullis: tcp://{address}: address already in use: stop the other program or choose another port"
        )
    );
    assert_eq!(left, ["one.wasm", "portcullis.toml"]);
}

#[test]
fn a_port_is_free_again_at_once() {
    let host = format!("tcp://127.0.0.1:{}", free_port());
    let mut daemon = hello().host(&host).start();
    assert_eq!(daemon.get("/").text(), "hello\n");
    daemon.terminate();

    let second = hello().host(&host).start();

    assert_eq!(second.get("/").text(), "hello\n");
}

#[test]
fn sockets_of_systemd_are_served_by_fd() {
    if !found(&["systemd-socket-activate"], "systemd") {
        return;
    }
    let setup = hello();
    let path = setup.path("activated.sock");
    let (port, socket) = (free_port(), path.display().to_string());
    let tcp = format!("127.0.0.1:{port}");
    let under = ["systemd-socket-activate", "-E", "NOTIFY_SOCKET", "-l", &tcp, "-l", &socket];
    let mut daemon = setup.host("fd://").under(&under).spawn();
    // systemd-socket-activate listens, and becomes the daemon at the first connection.
    daemon.log.lines(2, "Listening on");
    let mut first = Client::tcp(port);
    first.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    daemon.ready();

    assert_eq!(first.response().text(), "hello\n");
    assert_eq!(Client::unix(&path).get("/").text(), "hello\n");
    daemon.log.line(&format!("listening on tcp://{tcp}"));
    daemon.terminate();
    assert!(path.exists(), "what systemd made is systemd's to remove");
}

#[test]
fn a_socket_of_systemd_is_served_by_its_name() {
    if !found(&["systemd-socket-activate"], "systemd") {
        return;
    }
    let setup = hello();
    let (web, other) = (setup.path("web.sock"), setup.path("other.sock"));
    let [web_path, other_path] = [&web, &other].map(|path| path.display().to_string());
    let under = [
        "systemd-socket-activate",
        "-E",
        "NOTIFY_SOCKET",
        "--fdname=other:web",
        "-l",
        &other_path,
        "-l",
        &web_path,
    ];
    let mut daemon = setup.host("fd://web").under(&under).spawn();
    daemon.log.lines(2, "Listening on");
    let mut first = Client::unix(&web);
    first.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");

    daemon.ready();

    assert_eq!(first.response().text(), "hello\n");
    assert_eq!(daemon.log.lines(1, "listening on").len(), 1);
    daemon.log.line(&format!("listening on {}", unix(&web)));
}

#[test]
fn without_sockets_of_systemd_an_fd_is_refused_in_one_line() {
    let ended = hello().host("fd://web").fail();

    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("fd://web") && ended.stderr.contains("LISTEN_FDS"), "{}", ended.stderr);
}

#[test]
fn a_port_is_closed_as_soon_as_the_daemon_drains() {
    let module = Program::text().say("begun\n").read_once().wasm();
    let daemon = Setup::one("", &module).start();
    let port = daemon.port();
    let mut under_way = daemon.client();
    under_way.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    under_way.head();

    daemon.signal(rustix::process::Signal::TERM);

    until("connections are refused", || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
}
