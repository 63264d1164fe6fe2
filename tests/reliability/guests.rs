//! The guests: a good one, and others that each consume too much of one resource.

/// Responds at once.
const GOOD: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\1e\00\00\00") ;; one piece: at 16, 30 bytes
  (data (i32.const 16) "Content-Type: text/plain\r\n\r\nok")
  (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Computes until it is ended.
const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#;

/// Traps at once.
const TRAP: &str = r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#;

/// Grows its memory until that fails, then traps.
const GROW: &str = r#"(module (memory (export "memory") 1)
  (func (export "_start") (loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable))"#;

/// Reads its stdin to the end, then responds.
const READ: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\1e\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\r\n\r\nok")
  (func (export "_start")
    (i32.store (i32.const 100) (i32.const 65536)) (i32.store (i32.const 104) (i32.const 65536))
    (loop $l
      (drop (call $fd_read (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 108)))
      (br_if $l (i32.load (i32.const 108))))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

/// Writes until its output is closed.
const POUR: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\10\00\00\00\1c\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\r\n\r\n")
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 100) (i32.const 65536)) (i32.store (i32.const 104) (i32.const 65536))
    (loop $l
      (br_if $l (i32.eqz (call $fd_write (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 108)))))))"#;

/// Responds with 60,000 bytes, which is less than a pipe holds.
const LARGE: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\20\00\00\00\1c\00\00\00") ;; two pieces: at 32, 28 bytes
  (data (i32.const 8) "\00\10\00\00\60\ea\00\00") ;; and at 4096, 60000 bytes
  (data (i32.const 32) "Content-Type: text/plain\r\n\r\n")
  (func (export "_start") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 24)))))"#;

/// Fills 120 MiB of memory, again and again, each time by one instruction.
const FILL: &str = r#"(module (memory (export "memory") 1920)
  (func (export "_start") (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const 125829120)) (br $l))))"#;

/// Requests 100 MiB of random bytes in one call.
const RANDOM: &str = r#"(module
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 1920)
  (func (export "_start") (drop (call $random_get (i32.const 0) (i32.const 104857600)))))"#;

/// Waits for a million events in one call.
const POLL: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1920)
  (func (export "_start")
    (drop (call $poll_oneoff (i32.const 0) (i32.const 67108864) (i32.const 1000000) (i32.const 120000000)))))"#;

/// Writes a million pieces in one call.
const PIECES: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1920)
  (func (export "_start")
    (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1000000) (i32.const 120000000)))))"#;

/// The handlers of every daemon here, by name, with the route `/NAME`.
pub(crate) const GUESTS: [(&str, &str); 11] = [
    ("good", GOOD),
    ("spin", SPIN),
    ("trap", TRAP),
    ("grow", GROW),
    ("read", READ),
    ("pour", POUR),
    ("large", LARGE),
    ("fill", FILL),
    ("random", RANDOM),
    ("poll", POLL),
    ("pieces", PIECES),
];
