//! Rights on the admin socket: a group that may only read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;

use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use serde_json::Value;

use crate::harness::{Client, PATIENCE, Program, Response, Setup, finish, portcullis};

/// Sends a request to the admin socket as another user. Credentials belong to a thread, and the kernel tells those of
/// the thread that connects.
fn as_nobody(socket: PathBuf, request: &'static str) -> Response {
    let asking = move || {
        let nobody = Uid::from_raw(65534);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let mut client = Client::unix(&socket);
        client.send(request);
        client.response()
    };
    thread::spawn(asking).join().unwrap()
}

#[test]
fn a_group_that_may_read_sees_everything_and_changes_nothing() {
    if !rustix::process::geteuid().is_root() {
        // Only root can be another user.
        return;
    }
    let access = "admin = \"unix://admin.sock\"\nadmin_mode = \"0666\"\nadmin_group_access = \"read\"\n";
    let setup = Setup::one("", &Program::text().say("hi").wasm()).prepend(access);
    let place = setup.path("portcullis.toml");
    fs::set_permissions(place.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = setup.start();
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
    let killed = finish(portcullis().args(["kill", "77", "--socket"]).arg(socket()), b"", PATIENCE);
    assert!(killed.stderr.contains("no job"), "{}", killed.stderr);
    assert_eq!(daemon.get("/").text(), "hi");
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
