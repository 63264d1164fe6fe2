//! Memory of an earlier job never shows in a reused slot, even on a host that swaps.

use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tempfile::TempDir;

use crate::harness::{Client, Daemon, Setup, found, guests, until};

/// Bytes of swap space: more than the memory of a daemon.
const SPACE: usize = 256 << 20;

/// Bytes that a guest marks, one page of the host at a time.
const MARKED: usize = 1 << 20;

/// A guest that fills a table when it gets a body, and echoes the body. Without a body, it prints how many
/// elements are not null.
const TABLE: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (table $table 150000 funcref)
  (elem declare func $write)
  (data (i32.const 64) "Content-Type: text/plain\n\n")
  (data (i32.const 0) "\80\00\00\00\00\01\00\00")
  (func $write (param $at i32) (param $length i32)
    (i32.store (i32.const 16) (local.get $at))
    (i32.store (i32.const 20) (local.get $length))
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24))))
  (func (export "_start") (local $at i32) (local $found i32)
    (call $write (i32.const 64) (i32.const 26))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 24)))
    (if (i32.load (i32.const 24))
      (then
        (table.fill $table (i32.const 0) (ref.func $write) (i32.const 150000))
        (loop $again
          (call $write (i32.const 128) (i32.load (i32.const 24)))
          (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 24)))
          (br_if $again (i32.load (i32.const 24))))
        (return)))
    (loop $next
      (local.set $found
        (i32.add (local.get $found) (i32.eqz (ref.is_null (table.get $table (local.get $at))))))
      (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 150000))))
    ;; One digit says enough.
    (i32.store8 (i32.const 128) (select (i32.const 0x31) (i32.const 0x30) (local.get $found)))
    (call $write (i32.const 128) (i32.const 1))))"#;

/// Swap space of the whole host. Dropping it turns it off.
struct Swap {
    file: PathBuf,
    _dir: TempDir,
}

impl Swap {
    /// Turns it on. Returns `None` if this host or this user cannot, which fails the test in CI.
    fn on() -> Option<Swap> {
        if !found(&["mkswap", "swapon", "swapoff"], "util-linux mount") {
            return None;
        }
        // Below the build directory, because temporary directories may be in memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let swap = Swap { file: dir.path().join("swap"), _dir: dir };
        fs::write(&swap.file, vec![0; SPACE]).unwrap();
        fs::set_permissions(&swap.file, fs::Permissions::from_mode(0o600)).unwrap();
        let run = |program| Command::new(program).arg(&swap.file).output().unwrap();
        assert!(run("mkswap").status.success());
        let on = run("swapon");
        if on.status.success() {
            return Some(swap);
        }
        let refused = format!("swapon: {}: run as root on a host", String::from_utf8_lossy(&on.stderr));
        assert!(std::env::var_os("CI").is_none(), "{refused}");
        let _told = writeln!(std::io::stderr(), "skipped: {refused}");
        None
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let off = Command::new("swapoff").arg(&self.file).status();
        assert!(off.is_ok_and(|status| status.success()), "{} is swapped off", self.file.display());
    }
}

/// Asks the kernel to swap out as much of a daemon's memory as it can.
fn page_out(daemon: &Daemon) {
    let process =
        pidfd_open(Pid::from_raw(daemon.pid().cast_signed()).unwrap(), PidfdFlags::empty()).unwrap();
    let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).unwrap();
    let number = |digits| usize::from_str_radix(digits, 16).unwrap();
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (first, last) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let range = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(number(first)),
            iov_len: number(last) - number(first),
        };
        // A call may fail: some ranges cannot be swapped out, and some are unmapped by now.
        // SAFETY: advice about another process; this one's memory is read no further than the range is.
        let _asked = unsafe {
            libc::syscall(libc::SYS_process_madvise, process.as_raw_fd(), &range, 1, libc::MADV_PAGEOUT, 0)
        };
    }
}

/// Returns how many bytes of a daemon are swapped out.
fn swapped(daemon: &Daemon) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSwap:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Runs a guest that marks its memory, and swaps the marks out before the guest ends. Returns what the next
/// guest finds.
fn marked(daemon: &Daemon, handler: &str) -> String {
    let mut client: Client = daemon.client();
    client.send(format!(
        "POST /mark HTTP/1.1\r\nHost: {handler}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n.\n\r\n"
    ));
    client.head();
    // The guest echoes `.` after it has marked its memory.
    while !client.chunk().contains(&b'.') {}
    let before = swapped(daemon);

    until("the marks are swapped out", || {
        page_out(daemon);
        (swapped(daemon) >= before + MARKED).then_some(())
    });
    client.send("0\r\n\r\n");
    client.chunks();

    client.send(format!("GET /marks HTTP/1.1\r\nHost: {handler}\r\n\r\n"));
    client.response().text().trim().to_owned()
}

#[test]
fn nothing_of_a_job_that_was_swapped_out_is_found_by_the_next_one() {
    let Some(_swap) = Swap::on() else { return };
    let modules = ["greedy", "greedy-wasip2", "proxy", "service", "table"];
    let mut setup = Setup::new("jobs = 8\nwasi_http_03 = true\n");
    for module in modules {
        let bytes = match module {
            "table" => wat::parse_str(TABLE).unwrap(),
            module => fs::read(guests().join(format!("{module}.wasm"))).unwrap(),
        };
        // Without `stream`, a program would start only after the whole body. Components that answer HTTP always stream.
        let stream = if matches!(module, "proxy" | "service") { "" } else { "body = \"stream\"\n" };
        setup = setup.file(&format!("{module}.wasm"), &bytes).add(&format!(
            "[handler.{module}]\nmodule = \"{module}.wasm\"\n{stream}\
             [[route]]\nhost = \"{module}\"\npath = \"/{{verb}}\"\nhandler = \"{module}\"\n"
        ));
    }
    let daemon = setup.start();

    for module in modules {
        assert_eq!(marked(&daemon, module), "0", "{module}");
    }
}
