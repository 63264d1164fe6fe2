//! Test guests: programs in WebAssembly's text format, and guests built from Rust.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::{finish, portcullis};

/// A guest assembled step by step, without a toolchain.
#[derive(Default)]
pub(crate) struct Program {
    data: String,
    end: usize,
    code: String,
    pages: usize,
}

/// Where the program's texts start. Its scratch space and its buffer are below.
const TEXTS: usize = 0x20000;

/// The parts of every program: the WASI imports and helper functions.
const PRELUDE: &str = r#"
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (func $write (param $fd i32) (param $at i32) (param $length i32)
    (loop $again
      (if (i32.eqz (local.get $length)) (then (return)))
      (i32.store (i32.const 0) (local.get $at))
      (i32.store (i32.const 4) (local.get $length))
      (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $proc_exit (i32.const 74))))
      (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
      (local.set $length (i32.sub (local.get $length) (i32.load (i32.const 8))))
      (br $again)))
  (func $read (param $at i32) (param $length i32) (result i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $length))
    (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (call $proc_exit (i32.const 74))))
    (i32.load (i32.const 8)))
  (func $sleep (param $ns i64)
    (memory.fill (i32.const 32) (i32.const 0) (i32.const 48))
    (i32.store (i32.const 48) (i32.const 1))
    (i64.store (i32.const 56) (local.get $ns))
    (drop (call $poll_oneoff (i32.const 32) (i32.const 96) (i32.const 1) (i32.const 128))))
  (func $echo (local $read i32)
    (loop $again
      (local.set $read (call $read (i32.const 0x10000) (i32.const 0x10000)))
      (call $write (i32.const 1) (i32.const 0x10000) (local.get $read))
      (br_if $again (local.get $read))))
  (func $swallow
    (loop $again (br_if $again (call $read (i32.const 0x10000) (i32.const 0x10000)))))
"#;

impl Program {
    pub(crate) fn new() -> Program {
        Program { pages: 4, end: TEXTS, ..Program::default() }
    }

    /// Starts with the head of a plain-text response.
    pub(crate) fn text() -> Program {
        Program::new().say("Content-Type: text/plain\n\n")
    }

    /// Writes to stdout.
    pub(crate) fn say(self, text: &str) -> Program {
        self.write(1, text)
    }

    /// Writes to stderr.
    pub(crate) fn complain(self, text: &str) -> Program {
        self.write(2, text)
    }

    fn write(self, fd: u8, text: &str) -> Program {
        let (program, at) = self.place(text);
        let length = text.len();
        program.code(&format!("(call $write (i32.const {fd}) (i32.const {at}) (i32.const {length}))"))
    }

    /// Puts a text into memory, and returns its address.
    fn place(mut self, text: &str) -> (Program, usize) {
        let escaped: String = text.bytes().fold(String::new(), |mut all, byte| {
            let _infallible = write!(all, "\\{byte:02x}");
            all
        });
        let (at, length) = (self.end, text.len());
        self.end += length;
        assert!(self.end < self.pages << 16, "the texts of a guest have their place");
        let _infallible = writeln!(self.data, "(data (i32.const {at}) \"{escaped}\")");
        (self, at)
    }

    /// Adds instructions.
    pub(crate) fn code(mut self, instructions: &str) -> Program {
        self.code.push_str(instructions);
        self.code.push('\n');
        self
    }

    /// Adds this many instructions that do nothing.
    pub(crate) fn padded(self, count: usize) -> Program {
        self.code(&"nop ".repeat(count))
    }

    /// Copies stdin to stdout until stdin ends.
    pub(crate) fn echo(self) -> Program {
        self.code("(call $echo)")
    }

    /// Reads stdin to its end.
    pub(crate) fn swallow(self) -> Program {
        self.code("(call $swallow)")
    }

    /// Reads once from stdin, whatever is available.
    pub(crate) fn read_once(self) -> Program {
        self.code("(drop (call $read (i32.const 0x10000) (i32.const 0x10000)))")
    }

    /// Sleeps.
    pub(crate) fn sleep(self, time: Duration) -> Program {
        self.code(&format!("(call $sleep (i64.const {}))", time.as_nanos()))
    }

    /// Waits until a file of this name exists in its first mount.
    pub(crate) fn await_file(self, name: &str) -> Program {
        let (program, at) = self.place(name);
        let length = name.len();
        // The descriptor of the first mount follows those of stdio.
        program.code(&format!(
            "(loop $until
               (call $sleep (i64.const 5000000))
               (br_if $until (call $path_open (i32.const 3) (i32.const 0) (i32.const {at}) (i32.const {length})
                 (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 16))))"
        ))
    }

    /// Opens a file of its first mount repeatedly until that fails.
    pub(crate) fn hoard(self, name: &str) -> Program {
        let (program, at) = self.place(name);
        let length = name.len();
        program.code(&format!(
            "(loop $more (br_if $more (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const {at})
               (i32.const {length}) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))))"
        ))
    }

    /// Grows its memory by single pages until that fails, and writes the number of pages in three digits.
    pub(crate) fn grow(self) -> Program {
        self.code(
            "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
             (local.set $count (memory.size))
             (i32.store8 (i32.const 0x10000) (i32.add (i32.const 48) (i32.div_u (local.get $count) (i32.const 100))))
             (i32.store8 (i32.const 0x10001)
               (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $count) (i32.const 10)) (i32.const 10))))
             (i32.store8 (i32.const 0x10002)
               (i32.add (i32.const 48) (i32.rem_u (local.get $count) (i32.const 10))))
             (call $write (i32.const 1) (i32.const 0x10000) (i32.const 3))",
        )
    }

    /// Sets the initial pages of memory, which are few by default.
    pub(crate) fn of_pages(self, pages: usize) -> Program {
        Program { pages, ..self }
    }

    /// Sleeps until it is ended.
    pub(crate) fn sleep_for_ever(self) -> Program {
        self.sleep(Duration::from_secs(3600))
    }

    /// Computes until it is ended.
    pub(crate) fn spin(self) -> Program {
        self.code("(loop $spin (br $spin))")
    }

    /// Traps.
    pub(crate) fn trap(self) -> Program {
        self.code("unreachable")
    }

    /// Exits with this status.
    pub(crate) fn exit(self, status: u8) -> Program {
        self.code(&format!("(call $proc_exit (i32.const {status}))"))
    }

    /// Writes this many chunks of 64 KiB.
    pub(crate) fn pour(self, pieces: u32) -> Program {
        self.code(&format!(
            "(local.set $count (i32.const {pieces}))
             (loop $pour
               (call $write (i32.const 1) (i32.const 0x10000) (i32.const 0x10000))
               (local.set $count (i32.sub (local.get $count) (i32.const 1)))
               (br_if $pour (local.get $count)))"
        ))
    }

    /// Writes its environment variables, each terminated by a NUL.
    pub(crate) fn environment(self) -> Program {
        self.code(
            "(drop (call $environ_sizes_get (i32.const 16) (i32.const 20)))
             (drop (call $environ_get (i32.const 0x10000) (i32.const 0x14000)))
             (call $write (i32.const 1) (i32.const 0x14000) (i32.load (i32.const 20)))",
        )
    }

    /// Assembles the module.
    pub(crate) fn wasm(&self) -> Vec<u8> {
        let Program { data, code, pages, .. } = self;
        let text = format!(
            "(module {PRELUDE} (memory (export \"memory\") {pages}) {data}
             (func $main (export \"_start\") (local $count i32) {code}))"
        );
        wat::parse_str(text).unwrap()
    }
}

/// Returns the directory of the modules of `tests/guests`, built once.
pub(crate) fn guests() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests")))
}

/// Returns the directory of the modules of the shipped handlers, built once.
pub(crate) fn handlers() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../handlers")))
}

/// Returns the directory of the module of the middleware, built once.
pub(crate) fn middleware() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/middleware")))
}

/// Builds a directory of guests with the program under test. Returns the directory of the modules.
fn build(dir: &Path) -> PathBuf {
    /// For a cold build of everything, on a slow machine that builds other things as well.
    const PATIENCE: Duration = Duration::from_secs(1200);
    let dir = fs::canonicalize(dir).unwrap();
    // A separate target directory: the cargo that runs this test holds the lock of its own.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let ended = finish(portcullis().arg("build").arg(&dir).env("CARGO_TARGET_DIR", target), b"", PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    dir.join("build")
}
