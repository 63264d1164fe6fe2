//! Jobs on a host that gives the daemon little address space, or no more memory.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::{Client, Daemon, Program, Response, Setup, found, guests};

/// The kinds of handlers, by their modules.
const KINDS: [&str; 4] = ["greedy", "greedy-wasip2", "proxy", "service"];

/// The number of concurrent jobs.
const JOBS: usize = 12;

/// Bytes of address space. The pool would reserve four terabytes.
const SPACE: u64 = 12_000_000_000;

/// Makes a daemon with a handler of each kind and `space` bytes of address space.
fn within(space: u64) -> Setup {
    let mut setup = Setup::new("reason_header = true\nwasi_http_03 = true\n");
    for module in KINDS {
        let bytes = fs::read(guests().join(format!("{module}.wasm"))).unwrap();
        // A component that answers HTTP streams by default.
        let streams = if ["proxy", "service"].contains(&module) { "" } else { "body = \"stream\"\n" };
        setup = setup.file(&format!("{module}.wasm"), &bytes).add(&format!(
            "[handler.{module}]\nmodule = \"{module}.wasm\"\n{streams}\
             [[route]]\nhost = \"{module}\"\npath = \"/{{verb}}\"\nhandler = \"{module}\"\n"
        ));
    }
    setup.under(&["prlimit", &format!("--as={space}")])
}

/// Starts a request that is answered while it is sent.
fn begun(daemon: &Daemon, module: &str) -> Client {
    let mut client = daemon.client();
    client.send(format!(
        "POST /mark HTTP/1.1\r\nHost: {module}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n.\n\r\n"
    ));
    client
}

/// Sends a request with this host.
fn get(daemon: &Daemon, host: &str, target: &str) -> Response {
    let mut client = daemon.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.response()
}

/// Limits a daemon to `bytes` of address space beyond what it uses now.
fn leave(daemon: &Daemon, bytes: u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    let limit = Rlimit { current: Some((kib << 10) + bytes), maximum: Some(SPACE) };
    prlimit(Pid::from_raw(daemon.pid().cast_signed()), Resource::As, limit).unwrap();
}

#[test]
fn jobs_at_once_run_in_little_address_space() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }
    for space in [SPACE, 3 << 30] {
        let daemon = within(space).start();
        daemon.log.line("the pool of instances cannot be reserved");
        for module in KINDS {
            let mut clients: Vec<Client> = (0..JOBS).map(|_| begun(&daemon, module)).collect();

            for client in &mut clients {
                let head = client.head();
                assert!(head.starts_with("HTTP/1.1 200 "), "{module} in {space}: {head}");
            }
            for client in &mut clients {
                client.send("0\r\n\r\n");
                assert!(client.chunks().ends_with(b".\n"), "{module} in {space}");
            }
        }
    }
}

#[test]
fn a_job_that_the_host_has_no_memory_for_is_no_failure_of_its_handler() {
    if !found(&["prlimit"], "util-linux") {
        return;
    }
    let ending = |how: &str| {
        Program::new()
            .code(&format!("(if (i32.eq (memory.grow (i32.const 1600)) (i32.const -1)) (then {how}))"))
            .say("Content-Type: text/plain\n\ngrown\n")
            .wasm()
    };
    let daemon = within(SPACE)
        .handler("traps", "", &ending("unreachable"))
        .handler("exits", "", &ending("(call $proc_exit (i32.const 3))"))
        .handler("copes", "", &ending("(call $write (i32.const 1) (i32.const 0x20000) (i32.const 0))"))
        .start();
    let programs = ["/traps", "/exits", "/copes"].map(|target| ("test", target));
    let all = || KINDS.iter().map(|kind| (*kind, "/marks")).chain(programs);
    for (host, target) in all() {
        assert_eq!(get(&daemon, host, target).status(), 200, "{host}{target}");
    }

    // Enough for an instance, but not for its growth.
    leave(&daemon, 60 << 20);
    for target in ["/traps", "/exits"] {
        let response = daemon.get(target);
        assert_eq!(response.status(), 503, "{target}: {}", response.text());
        assert_eq!(response.field("x-portcullis-reason"), Some("host_memory"));
        assert_eq!(response.field("retry-after"), Some("1"));
    }
    assert_eq!(daemon.get("/copes").text(), "grown\n");

    // Not enough for an instance.
    leave(&daemon, 12 << 20);
    for (host, target) in all() {
        let response = get(&daemon, host, target);
        assert_eq!(response.status(), 503, "{host}{target}: {}", response.text());
        assert_eq!(response.field("x-portcullis-reason"), Some("host_memory"), "{host}{target}");
    }
    daemon.log.line("allow the daemon more (LimitAS= in its unit");

    leave(&daemon, 4 << 30);
    for (host, target) in all() {
        assert_eq!(get(&daemon, host, target).status(), 200, "{host}{target}");
    }
}
