//! Figures of transfers at the pace of a link, which take longer than the handler may run.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground, PATIENCE};

/// A body at the pace of a link.
struct Transfer {
    /// What the client does with it.
    what: &'static str,
    bytes: usize,
    bytes_per_second: usize,
    /// The `limits.time` of the handler, which is shorter than the transfer.
    limit: &'static str,
}

/// Takes 40 s, longer than the default of `limits.time`.
const SENT: Transfer = Transfer { what: "sent", bytes: 12_000_000, bytes_per_second: 300_000, limit: "30s" };

/// Takes 8 s.
const TAKEN: Transfer =
    Transfer { what: "taken", bytes: 80_000_000, bytes_per_second: 10_000_000, limit: "3s" };

/// The bytes that the guest writes at once. The response is a whole number of such pieces.
const PIECE: usize = 64_000;

/// The receive buffer of a client, in bytes. The kernel's own would hold much of the response.
const RECEIVED: usize = 64 << 10;

pub(crate) static UPLOAD: Figure = Figure { name: "slow-link-upload", measure: upload };
pub(crate) static DOWNLOAD: Figure = Figure { name: "slow-link-download", measure: download };

impl Transfer {
    /// Waits until this many bytes have had their time since `start`.
    fn pause(&self, start: Instant, bytes: usize) {
        let due = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let left = due.saturating_sub(start.elapsed());
        if !left.is_zero() {
            thread::park_timeout(left);
        }
    }

    /// Describes the transfer and its end.
    fn told(&self, end: &str, time: Duration) -> String {
        let Transfer { what, bytes, bytes_per_second, limit } = self;
        let (megabytes, kilobytes) = (bytes / 1_000_000, bytes_per_second / 1_000);
        format!(
            "{megabytes} MB {what} at {kilobytes} kB/s, with `limits.time` at {limit}: {end} after {time:.1?}"
        )
    }
}

/// Sends a body to a handler.
fn upload(ground: &Ground) -> Result<Outcome> {
    let daemon = ground.daemon(&format!("limits.time = \"{}\"\n", SENT.limit))?;
    let mut stream = TcpStream::connect(daemon.address).context("connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = SENT.bytes;
    write!(stream, "POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")?;
    let (start, piece) = (Instant::now(), vec![b'x'; SENT.bytes_per_second / 10]);
    for number in 1..=length / piece.len() {
        stream.write_all(&piece).with_context(|| format!("piece {number} of the body"))?;
        SENT.pause(start, number * piece.len());
    }
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    Ok(Outcome {
        holds: status.starts_with("HTTP/1.1 200 "),
        text: SENT.told(status.trim(), start.elapsed()),
        recovery: daemon.recovered()?,
    })
}

/// Takes a response from a handler.
fn download(ground: &Ground) -> Result<Outcome> {
    fs::write(ground.path("megabytes.wasm"), wat::parse_str(writes())?)?;
    let table = format!(
        "[handler.megabytes]\nmodule = \"megabytes.wasm\"\nlimits.time = \"{}\"\n\
         [[route]]\npath = \"/megabytes\"\nhandler = \"megabytes\"\n",
        TAKEN.limit
    );
    let daemon = ground.daemon_with("", &table)?;
    let start = Instant::now();
    let (status, taken) = paced(&daemon, start)?;
    Ok(Outcome {
        holds: status.starts_with("HTTP/1.1 200 ") && taken == TAKEN.bytes,
        text: TAKEN.told(&format!("{} and {taken} bytes", status.trim()), start.elapsed()),
        recovery: daemon.recovered()?,
    })
}

/// Returns the status line of the response, and the bytes of its body that arrived.
fn paced(daemon: &Daemon, start: Instant) -> Result<(String, usize)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(RECEIVED)?;
    socket.connect(&daemon.address.into()).context("connect")?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /megabytes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status)?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "the head does not end");
    }
    let (mut taken, mut piece) = (0, vec![0; RECEIVED]);
    loop {
        // A response that is broken off ends with a reset, or too early.
        let read = reader.read(&mut piece).unwrap_or_default();
        if read == 0 {
            return Ok((status, taken));
        }
        taken += read;
        TAKEN.pause(start, taken);
    }
}

/// A guest that writes the response.
fn writes() -> String {
    let head = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n", TAKEN.bytes);
    let (length, pieces) = (head.len(), TAKEN.bytes / PIECE);
    let head = head.replace("\r\n", "\\0d\\0a");
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "{head}")
  (func $write (param $at i32) (param $length i32)
    (loop $more
      (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $length))
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
      (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
      (local.set $length (i32.sub (local.get $length) (i32.load (i32.const 8))))
      (br_if $more (local.get $length))))
  (func (export "_start") (local $left i32)
    (call $write (i32.const 1024) (i32.const {length}))
    (local.set $left (i32.const {pieces}))
    (loop $next
      (call $write (i32.const 65536) (i32.const {PIECE}))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $next (local.get $left)))))"#
    )
}
