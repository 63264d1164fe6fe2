//! Figures of guests that read large directories.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{ask_once, ratio};
use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground};

/// The entries of the small directory and of the large one.
const FEW: usize = 1_000;
const MANY: usize = 16_000;

/// The processor time of the guest that reads without end.
const CPU: Duration = Duration::from_secs(1);

pub(crate) static LISTING: Figure = Figure { name: "listing", measure: listing };
pub(crate) static AGAIN: Figure = Figure { name: "directory-loop", measure: again };

/// Measures how the time to read a directory grows with its entries.
fn listing(ground: &Ground) -> Result<Outcome> {
    /// Sixteen times the entries may take twice sixteen times as long. Quadratic growth would be 256.
    const MOST: f64 = 32.0;
    let daemon = reading(ground)?;
    let (few, many) = (fastest(&daemon, "/few")?, fastest(&daemon, "/many")?);
    let ratio = ratio(many, few);
    Ok(Outcome {
        holds: ratio <= MOST,
        text: format!(
            "a directory of {FEW} entries is read in {few:.1?}, one of {MANY} in {many:.1?} ({ratio:.1} times)"
        ),
        recovery: daemon.recovered()?,
    })
}

/// Measures how much processor time a guest gets that only makes the host compute.
fn again(ground: &Ground) -> Result<Outcome> {
    /// The allowed excess over the limit, which is checked between two calls and at ticks of 10 ms.
    const BEYOND: Duration = Duration::from_millis(500);
    let daemon = reading(ground)?;
    let before = daemon.cpu()?;
    let response = ask_once(&daemon, "/again")?;
    let spent = daemon.cpu()?.saturating_sub(before);
    ensure!(response.starts_with("HTTP/1.1 504 "), "wanted a 504, found {response:?}");
    Ok(Outcome {
        holds: spent <= CPU + BEYOND,
        text: format!(
            "a guest that reads a directory of {MANY} entries over and over, with `limits.cpu` at {CPU:?}: over after \
             {spent:.1?} of the daemon's processor time"
        ),
        recovery: daemon.recovered()?,
    })
}

/// Returns the shortest time of several responses, because other processes take time as well.
fn fastest(daemon: &Daemon, path: &str) -> Result<Duration> {
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let response = ask_once(daemon, path)?;
        fastest = fastest.min(start.elapsed());
        ensure!(response.starts_with("HTTP/1.1 200 "), "{path}: wanted a 200, found {response:?}");
    }
    Ok(fastest)
}

/// Starts a daemon whose handlers `few` and `many` read a directory once, and `again` without end.
fn reading(ground: &Ground) -> Result<Daemon> {
    let mut tables = String::new();
    for (name, dir, entries, end, cpu) in [
        ("few", "few", FEW, "", 20 * CPU),
        ("many", "many", MANY, "", 20 * CPU),
        ("again", "many", MANY, "(br $again)", CPU),
    ] {
        let path = ground.path(dir);
        fs::create_dir_all(&path)?;
        for number in 0..entries {
            fs::write(path.join(number.to_string()), "")?;
        }
        fs::write(ground.path(&format!("{name}.wasm")), wat::parse_str(lists(entries, end))?)?;
        let cpu = cpu.as_secs();
        tables += &format!(
            "[handler.{name}]\nmodule = \"{name}.wasm\"\nmounts = [{{ host = \"{dir}\", guest = \"/data\" }}]\n\
             limits = {{ cpu = \"{cpu}s\", time = \"50s\" }}\n\
             [[route]]\npath = \"/{name}\"\nhandler = \"{name}\"\n"
        );
    }
    ground.daemon_with("", &tables)
}

/// A guest that reads its mount to the end, 4 KiB at a time as the C library does, and traps if entries are missing.
/// `end` is the last instruction of a loop around that.
fn lists(entries: usize, end: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\1e\00\00\00")
  (data (i32.const 16) "Content-Type: text/plain\r\n\r\nok")
  (func $list (local $place i64) (local $entry i32) (local $end i32) (local $found i32)
    (loop $read
      (if (call $fd_readdir (i32.const 3) (i32.const 4096) (i32.const 4096) (local.get $place) (i32.const 64))
        (then unreachable))
      (local.set $entry (i32.const 4096))
      (local.set $end (i32.add (i32.const 4096) (i32.load (i32.const 64))))
      ;; An entry is the place of the next one, 8 bytes, the length of its name, 4 bytes, and the name.
      (block $cut
        (loop $next
          (br_if $cut (i32.gt_u (i32.add (local.get $entry) (i32.const 24)) (local.get $end)))
          (local.set $place (i64.load (local.get $entry)))
          (local.set $entry
            (i32.add (i32.add (local.get $entry) (i32.const 24)) (i32.load offset=16 (local.get $entry))))
          (local.set $found (i32.add (local.get $found) (i32.const 1)))
          (br $next)))
      (br_if $read (i32.eq (i32.load (i32.const 64)) (i32.const 4096))))
    (if (i32.lt_u (local.get $found) (i32.const {entries})) (then unreachable)))
  (func (export "_start")
    (loop $again (call $list) {end})
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    )
}
