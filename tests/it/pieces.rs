//! Small chunks take no more memory in the daemon than large ones.

use crate::harness::{Client, Daemon, PATIENCE, Program, Setup, within};

/// The capacity of a pipe, and so the maximum of single bytes in it.
const PIPE: usize = 64 << 10;

/// How many pipes are filled.
const PIPES: usize = 16;

/// Maximum growth, in KiB: 512 for each pipe. 64 KiB of single bytes took 4.7 MiB before chunks were joined.
const MOST: u64 = (PIPES as u64) << 9;

/// Returns the resident memory of a daemon, in KiB.
fn memory(daemon: &Daemon) -> u64 {
    daemon.status("VmRSS")
}

#[test]
fn empty_messages_that_a_job_does_not_read_cost_no_more_than_their_bytes() {
    const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let idle = Program::new().say("\n").sleep_for_ever();
    let daemon = Setup::new(
        "[handler.one]\nmodule = \"one.wasm\"\nlimits.time = \"none\"\n[[route]]\npath = \"/\"\nhandler = \"one\"\nupgrade = \"websocket\"\nwebsocket.ping = \"none\"\n",
    )
    .file("one.wasm", &idle.wasm())
    .start();
    let open = || {
        let mut client = daemon.client();
        client.send(HANDSHAKE);
        client.head();
        assert_eq!(client.take(2), b"\x81\0");
        client
    };
    let mut clients: Vec<Client> = (0..PIPES).map(|_| open()).collect();
    let before = memory(&daemon);

    // The ping's answer shows that the empty messages before it have been processed.
    let messages = [0x81, 0x80, 0, 0, 0, 0].repeat(PIPE - 100);
    for client in &mut clients {
        client.send(&messages);
        client.send([0x89, 0x80, 0, 0, 0, 0]);
        assert_eq!(client.take(2), b"\x8a\0");
    }

    let grown = memory(&daemon).saturating_sub(before);
    assert!(grown < MOST, "{grown} KiB for {PIPES} times {} empty messages", PIPE - 100);
}

/// Single bytes that a job reads, and as many that it writes.
const SINGLE: usize = 20_000;

/// A guest that starts jobs of "back", writes single bytes to each, and reports that it has.
fn front() -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
          (import "portcullis_job_v1" "job" (func $job (param i32 i32) (result i32)))
          (import "portcullis_job_v1" "start" (func $start (param i32) (result i32)))
          (import "portcullis_job_v1" "write" (func $put (param i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\1e\00\00\00")
          (data (i32.const 16) "Content-Type: text/plain\0d\0a\0d\0aok")
          (data (i32.const 64) "back")
          (data (i32.const 80) "\60\00\00\00\01\00\00\00")
          (func (export "_start") (local $count i32) (local $bytes i32) (local $at i32)
            (loop $jobs
              (local.set $at (call $job (i32.const 64) (i32.const 4)))
              (if (call $start (local.get $at)) (then (unreachable)))
              (local.set $bytes (i32.const {bytes}))
              (loop $bytes
                (if (i32.ne (call $put (local.get $at) (i32.const 64) (i32.const 1)) (i32.const 1)) (then (unreachable)))
                (local.set $bytes (i32.sub (local.get $bytes) (i32.const 1)))
                (br_if $bytes (local.get $bytes)))
              (local.set $count (i32.add (local.get $count) (i32.const 1)))
              (br_if $jobs (i32.lt_u (local.get $count) (i32.const {PIPES}))))
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (drop (call $fd_read (i32.const 0) (i32.const 80) (i32.const 1) (i32.const 88)))))"#,
        bytes = SINGLE,
    ))
    .unwrap()
}

/// A guest that writes single bytes to its stdout, and then waits.
fn back() -> Vec<u8> {
    let write = "(call $write (i32.const 1) (i32.const 0x10000) (i32.const 1))";
    let count = SINGLE;
    Program::new()
        .code(&format!(
            "(local.set $count (i32.const {count})) (loop $again {write}
               (local.set $count (i32.sub (local.get $count) (i32.const 1))) (br_if $again (local.get $count)))"
        ))
        .complain("written\n")
        .sleep_for_ever()
        .wasm()
}

#[test]
fn single_bytes_to_and_from_jobs_that_are_called_cost_no_more_than_their_bytes() {
    let ample = "limits = { time = \"none\", cpu = \"none\" }";
    let daemon = Setup::new("")
        .handler("front", &format!("calls = [\"back\"]\n{ample}"), &front())
        .handler("back", ample, &back())
        .start();
    let before = memory(&daemon);
    let mut client = daemon.client().patient(3 * PATIENCE);

    client.send("POST /front HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    client.head();
    within(3 * PATIENCE, "every job has written", || {
        (daemon.log.count("back: written") == PIPES).then_some(())
    });

    let grown = memory(&daemon).saturating_sub(before);
    // Each job has an instance as well, of 4 pages at most.
    assert!(grown < 2 * MOST, "{grown} KiB for {PIPES} jobs");
}
