//! The resources that a guest holds: pollables, subscriptions, memories and tables.

use std::fs;
use std::time::Duration;

use crate::harness::{Setup, finish, portcullis};

/// A component that makes this many pollables of a clock and drops none of them, as JavaScript does until its
/// garbage collector runs. Before that, it drops a thousand one by one.
fn hoarding(pollables: usize) -> Vec<u8> {
    let text = format!(
        r#"(component
          (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
          (alias export $poll "pollable" (type $pollable))
          (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
            (alias outer 1 $pollable (type $p)) (export "pollable" (type $q (eq $p)))
            (export "subscribe-duration" (func (param "when" u64) (result (own $q))))))
          (core func $sub (canon lower (func $clock "subscribe-duration")))
          (core func $drop (canon resource.drop $pollable))
          (core module $m
            (import "" "sub" (func $sub (param i64) (result i32))) (import "" "drop" (func $drop (param i32)))
            (func (export "run") (result i32) (local $n i32)
              (loop $l
                (call $drop (call $sub (i64.const 1)))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $n) (i32.const 20000))))
              (local.set $n (i32.const 0))
              (loop $l
                (drop (call $sub (i64.const 1)))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $n) (i32.const {pollables}))))
              (i32.const 0)))
          (core instance $i (instantiate $m
            (with "" (instance (export "sub" (func $sub)) (export "drop" (func $drop))))))
          (func $run (result (result)) (canon lift (core func $i "run")))
          (instance $e (export "run" (func $run)))
          (export "wasi:cli/run@0.2.0" (instance $e)))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn a_component_makes_more_pollables_than_it_may_hold_files_and_not_without_end() {
    for (pollables, status) in [(300, 200), (8_000, 200), (9_000, 502)] {
        let daemon = Setup::new("").handler("p", "output = \"raw\"", &hoarding(pollables)).start();

        assert_eq!(daemon.get("/p").status(), status, "{pollables}");
    }
}

/// A component that makes pollables of a clock up to their limit and a hundred more, drops the hundred, and
/// takes 230 handles to its stdout.
fn beyond() -> Vec<u8> {
    let text = r#"(component
          (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
          (alias export $poll "pollable" (type $pollable))
          (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
            (alias outer 1 $pollable (type $p)) (export "pollable" (type $q (eq $p)))
            (export "subscribe-duration" (func (param "when" u64) (result (own $q))))))
          (import "wasi:io/streams@0.2.0" (instance $streams (export "output-stream" (type (sub resource)))))
          (alias export $streams "output-stream" (type $stream))
          (import "wasi:cli/stdout@0.2.0" (instance $stdout
            (alias outer 1 $stream (type $s)) (export "output-stream" (type $t (eq $s)))
            (export "get-stdout" (func (result (own $t))))))
          (core func $sub (canon lower (func $clock "subscribe-duration")))
          (core func $drop (canon resource.drop $pollable))
          (core func $get (canon lower (func $stdout "get-stdout")))
          (core module $m
            (import "" "sub" (func $sub (param i64) (result i32))) (import "" "drop" (func $drop (param i32)))
            (import "" "get" (func $get (result i32)))
            (func $make (param $n i32) (result i32) (local $last i32)
              (loop $l
                (local.set $last (call $sub (i64.const 1)))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br_if $l (local.get $n)))
              (local.get $last))
            (func (export "run") (result i32) (local $n i32) (local $last i32)
              (drop (call $make (i32.const 8192)))
              (local.set $last (call $make (i32.const 100)))
              (local.set $n (i32.const 100))
              (loop $l
                (call $drop (local.get $last))
                (local.set $last (i32.sub (local.get $last) (i32.const 1)))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br_if $l (local.get $n)))
              (local.set $n (i32.const 230))
              (loop $l
                (drop (call $get))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (br_if $l (local.get $n)))
              (i32.const 0)))
          (core instance $i (instantiate $m (with "" (instance
            (export "sub" (func $sub)) (export "drop" (func $drop)) (export "get" (func $get))))))
          (func $run (result (result)) (canon lift (core func $i "run")))
          (instance $e (export "run" (func $run)))
          (export "wasi:cli/run@0.2.0" (instance $e)))"#;
    wat::parse_str(text).unwrap()
}

#[test]
fn pollables_that_counted_as_handles_leave_all_handles_free_when_they_are_dropped() {
    let daemon = Setup::new("").handler("p", "output = \"raw\"", &beyond()).start();

    assert_eq!(daemon.get("/p").status(), 200);
}

#[test]
fn a_poll_takes_as_many_subscriptions_as_handles_and_refuses_one_more() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2)
        (data (i32.const 16) "fits\n")
        (func $say (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
        (func (export "_start")
          (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 5))
          (if (i32.eqz (call $poll (i32.const 4096) (i32.const 65536) (i32.const 256) (i32.const 8))) (then (call $say)))
          (if (i32.eq (call $poll (i32.const 4096) (i32.const 65536) (i32.const 257) (i32.const 8)) (i32.const 33))
            (then (call $say)))))"#;
    let daemon = Setup::new("").handler("p", "output = \"raw\"", &wat::parse_str(text).unwrap()).start();

    assert_eq!(daemon.get("/p").text(), "fits\nfits\n");
}

#[test]
fn memories_and_tables_beyond_what_a_job_has_room_for_are_refused_in_the_words_of_the_manual() {
    let check = |parts: String| {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("(module {parts} (func (export \"_start\")))");
        fs::write(dir.path().join("m.wasm"), wat::parse_str(text).unwrap()).unwrap();
        let ended =
            finish(portcullis().arg("run").arg(dir.path().join("m.wasm")), b"", Duration::from_secs(60));
        (ended.code, ended.stderr)
    };

    assert_eq!(check("(memory 1)".repeat(2) + &"(table 1 funcref)".repeat(4)).0, Some(0));
    let memories = check("(memory 1)".repeat(3)).1;
    assert!(memories.contains("3 memories: 2 at most"), "{memories}");
    let tables = check("(table 1 funcref)".repeat(5)).1;
    assert!(tables.contains("5 tables: 4 at most"), "{tables}");
}
