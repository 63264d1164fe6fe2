//! Rights on the admin socket: a group that may only read.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use serde_json::Value;

use crate::harness::{Client, Program, Response, Setup};

/// Runs a closure as another user. Credentials belong to a thread, and the daemon sees those of the connecting thread.
fn as_another_user<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let working = move || {
        let nobody = Uid::from_raw(65534);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        work()
    };
    thread::spawn(working).join().unwrap()
}

/// Connects to the admin socket as another user.
fn connected_as_nobody(socket: PathBuf) -> Client {
    as_another_user(move || Client::unix(&socket))
}

/// Sends a request to the admin socket as another user.
fn as_nobody(socket: PathBuf, request: &str) -> Response {
    let mut client = connected_as_nobody(socket);
    client.send(request);
    client.response()
}

/// Serves a handler and an admin socket that all users may open, with this line.
fn open_to_all(access: &str) -> Setup {
    let top = format!("admin = \"unix://admin.sock\"\nadmin_mode = \"0666\"\n{access}\n");
    let setup = Setup::one("", &Program::text().say("hi").wasm()).prepend(&top);
    let place = setup.path("portcullis.toml");
    fs::set_permissions(place.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    setup
}

#[test]
fn a_group_that_may_read_sees_everything_and_changes_nothing() {
    if !rustix::process::geteuid().is_root() {
        // Only root can be another user.
        return;
    }
    let daemon = open_to_all("admin_group_access = \"read\"").start();
    let socket = || daemon.path("admin.sock");
    let status = |request| as_nobody(socket(), request).status();

    let changes = as_nobody(socket(), "GET /dashboard/access HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let changes: Value = serde_json::from_slice(&changes.body).unwrap();
    assert_eq!(changes["changes"], false);
    for request in [
        "POST /jobs/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /jobs/handlers HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /jobs/history HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /dashboard/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        assert_eq!(status(request), 200, "{request}");
    }
    for request in [
        "POST /jobs/kill?a=77 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /jobs/shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /jobs/rollback?a=one HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /jobs/promote?a=one HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /jobs/log-level?a=debug HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /jobs/plan?a=/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /jobs/one HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let refused = as_nobody(socket(), request);
        assert_eq!(refused.status(), 403, "{request}");
        assert!(refused.text().contains("admin_group_access"), "{}", refused.text());
    }
    // root, whose daemon it is, may do everything.
    let killed = daemon.verb(&["kill", "77"]);
    assert!(killed.stderr.contains("no job"), "{}", killed.stderr);
    assert_eq!(daemon.get("/").text(), "hi");
}

#[test]
fn a_reload_takes_rights_from_open_connections_too() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let daemon = open_to_all("admin_group_access = \"all\"").start();
    let mut client = connected_as_nobody(daemon.path("admin.sock"));
    let mut kill = || {
        client.send("POST /jobs/kill?a=77 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.response()
    };
    assert!(kill().text().contains("no job"), "it has all rights");
    let config = daemon.path("portcullis.toml");
    let written = fs::read_to_string(&config).unwrap();
    fs::write(&config, written.replace("\"all\"", "\"read\"")).unwrap();

    let reload = daemon.verb(&["reload"]);

    assert_eq!(reload.code, Some(0), "{}", reload.stderr);
    assert_eq!(kill().status(), 403);
}

#[test]
fn users_who_may_only_read_do_not_lock_root_out() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Longer than the test waits for root.
    let daemon =
        open_to_all("admin_group_access = \"read\"\n[http]\nfirst_byte = \"10m\"\nhead = \"10m\"").start();
    let socket = daemon.path("admin.sock");
    let crowd = as_another_user(move || {
        // Beyond the share of its user, a connection is closed at once.
        let begin = |mut stream: UnixStream| stream.write_all(b"GET /metrics HTTP/1.1\r\n").map(|()| stream);
        (0..80).filter_map(|_| UnixStream::connect(&socket).and_then(begin).ok()).collect::<Vec<_>>()
    });
    assert!(crowd.len() >= 40, "{}", crowd.len());

    for _ in 0..3 {
        let status = daemon.verb(&["status"]);

        assert_eq!(status.code, Some(0), "{}", status.stderr);
    }
    daemon.log.line("the maximum of users other than root and the daemon's: closed");
    drop(crowd);
}

#[test]
fn rights_of_a_group_need_a_socket_and_a_known_word() {
    for (lines, told) in [
        ("admin_group_access = \"read\"\n", "admin_group_access: needs admin"),
        (
            "admin = \"unix://a.sock\"\nadmin_group_access = \"none\"\n",
            "wanted \"all\" or \"read\", found \"none\"",
        ),
    ] {
        let ended = Setup::one("", &Program::text().wasm()).prepend(lines).fail();

        assert_ne!(ended.code, Some(0));
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
}
