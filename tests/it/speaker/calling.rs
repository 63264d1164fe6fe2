//! Jobs that wasi:http handlers call.

use std::fs;

use serde_json::Value;

use super::{BOTH, Guest};
use crate::harness::{Daemon, Setup, guests, until};

/// Serves a guest that may call "back", a program that does what its arguments say.
fn setup(guest: Guest, front: &str, back: &str) -> Setup {
    let module = fs::read(guests().join("calls.wasm")).unwrap();
    let settings = format!("output = \"raw\"\ncalls = [\"back\"]\n{back}");
    guest
        .setup(&format!("calls = [\"back\"]\n{front}"))
        .handler("back", &settings, &module)
        .prepend("admin = \"unix://admin.sock\"\n")
}

/// Makes the guest call, and returns its output.
fn call(daemon: &Daemon, target: &str, body: &[u8]) -> String {
    let response = daemon.client().submit("POST", &format!("/call/{target}"), "", body);
    assert_eq!(response.status(), 200, "{}", response.text());
    response.text().to_owned()
}

/// Counts the running jobs of "back".
fn running(daemon: &Daemon) -> usize {
    let jobs: Value = serde_json::from_slice(&daemon.verb(&["jobs", "--json"]).stdout).unwrap();
    jobs.as_array().unwrap().iter().filter(|job| job["handler"] == "back").count()
}

#[test]
fn a_job_is_called_and_tells_its_output_and_status() {
    for guest in BOTH {
        let daemon = setup(guest, "", "").start();

        assert_eq!(call(&daemon, "back/upper", b"some words"), "SOME WORDSstatus 0\n", "{guest:?}");
        assert_eq!(call(&daemon, "back/exit/3", b""), "status 3\n", "{guest:?}");
        assert!(call(&daemon, "p/hello", b"").starts_with("NotGranted: p may not call \"p\""));
    }
}

#[test]
fn an_instance_that_called_is_used_again() {
    for guest in BOTH {
        let daemon = setup(guest, "reuse = 100", "").start();

        for word in ["one", "two", "three"] {
            let wanted = word.to_ascii_uppercase() + "status 0\n";
            assert_eq!(call(&daemon, "back/upper", word.as_bytes()), wanted);
        }

        assert_eq!(daemon.get("/count").text(), "4\n", "{guest:?}: one instance has answered all of them");
    }
}

#[test]
fn depth_and_fan_out_are_those_of_the_request() {
    for guest in BOTH {
        let daemon = setup(guest, "reuse = 100", "limits.cpu = \"none\"").start();

        // The request has depth 0, and each job calls the next one.
        let deep = call(&daemon, "back/call/back/call/back/call/back/call/back", b"");
        // The request starts one job, and that job starts 63.
        let wide = call(&daemon, "back/fan/back/64", b"");

        assert!(deep.contains("TooDeep: back is not called: calls are nested 4 deep"), "{guest:?}: {deep}");
        assert!(
            wide.contains("63 done") && wide.contains("TooMany: one request may start 64 jobs"),
            "{wide}"
        );
        // The next request has limits of its own.
        assert_eq!(call(&daemon, "back/fan/back/63", b""), "63 done\nstatus 0\n", "{guest:?}");
    }
}

#[test]
fn a_job_has_no_more_time_than_its_caller() {
    for guest in BOTH {
        let daemon = setup(guest, "reuse = 100\nlimits.time = \"500ms\"", "limits.time = \"none\"").start();

        let response = daemon.client().submit("POST", "/call/back/sleep", "", b"");

        assert_eq!(response.status(), 504, "{guest:?}: {}", response.text());
        until("the job is gone", || (running(&daemon) == 0).then_some(()));
    }
}

#[test]
fn a_job_ends_with_the_client_of_its_caller() {
    for guest in BOTH {
        let daemon = setup(guest, "", "limits.time = \"none\"").start();
        let mut client = daemon.client();
        client.send("POST /call/back/sleep HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
        until("the job runs", || (running(&daemon) == 1).then_some(()));

        client.reset();

        until("the job is gone", || (running(&daemon) == 0).then_some(()));
    }
}
