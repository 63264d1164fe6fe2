//! The numbers of stdout and stderr, as a core module changes them.

use crate::harness::Setup;

/// Writes to stdout, gives the number of stdout to stderr, and writes there again.
const RENUMBERS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "Content-Type: text/plain\0a\0aone\0a") (data (i32.const 128) "two\0a")
    (func $write (param $fd i32) (param $at i32) (param $length i32) (result i32)
      (i32.store (i32.const 0) (local.get $at))
      (i32.store (i32.const 4) (local.get $length))
      (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
    (func (export "_start")
      (if (call $write (i32.const 1) (i32.const 64) (i32.const 30)) (then (unreachable)))
      (if (i32.ne (i32.load (i32.const 8)) (i32.const 30)) (then (unreachable)))
      (if (i32.eqz (call $write (i32.const 3) (i32.const 128) (i32.const 4))) (then (unreachable)))
      (if (call $fd_renumber (i32.const 2) (i32.const 1)) (then (unreachable)))
      (if (call $write (i32.const 1) (i32.const 128) (i32.const 4)) (then (unreachable)))
      (if (i32.eqz (call $write (i32.const 2) (i32.const 128) (i32.const 4))) (then (unreachable)))))"#;

#[test]
fn a_write_after_a_descriptor_was_renumbered_goes_where_it_leads() {
    let daemon = Setup::one("", &wat::parse_str(RENUMBERS).unwrap()).start();

    let response = daemon.get("/");

    assert_eq!((response.status(), response.text()), (200, "one\n"), "{}", daemon.log.text());
    daemon.log.line("one: two");
}
