//! The figure of responses that the clients of HTTP/2 never take.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground, PATIENCE};
use crate::load::wire::{PREFACE, block, flag, frame, kind};

/// The connections, with as many streams as the daemon allows. Their responses are 240 MB.
const CONNECTIONS: usize = 40;
const STREAMS: u32 = 100;

/// The limit on the memory that all connections hold, in bytes.
const LIMIT: u64 = 64 << 20;

/// What the daemon may take in addition, in bytes: sandbox slots that were never used before.
const BESIDE: u64 = 64 << 20;

pub(crate) static RESPONSES: Figure = Figure { name: "untaken-responses", measure: responses };

fn responses(ground: &Ground) -> Result<Outcome> {
    let mut daemon = ground.daemon(&format!("http.client_memory = \"{}MiB\"\n", LIMIT >> 20))?;
    let alone = daemon.good(Duration::from_secs(2))?.percentile(99);
    let (before, files) = (daemon.forget_peak()?, daemon.descriptors()?);
    let mut held = (0..CONNECTIONS).map(|_| ask(&daemon)).collect::<Result<Vec<_>>>()?;
    let beside = daemon.good(Duration::from_secs(2))?.percentile(99);
    let grown = daemon.peak()?.saturating_sub(before);
    daemon.alive()?;
    let mut closed = 0;
    for stream in &mut held {
        closed += usize::from(is_closed(stream)?);
    }
    drop(held);
    let recovery = daemon.recovered()?;
    daemon.emptied(files)?;
    Ok(Outcome {
        holds: grown <= LIMIT + BESIDE,
        text: format!(
            "{CONNECTIONS} connections that ask for {STREAMS} responses of 60 kB each and take none, with \
             `http.client_memory` at {} MiB: memory {} MiB more at its peak, {closed} of them closed; a good client's p99 \
             {beside:.1?} beside them, {alone:.1?} alone",
            LIMIT >> 20,
            grown >> 20
        ),
        recovery,
    })
}

/// Asks for responses on a new connection that has no window, and waits for their heads or the end of the connection.
fn ask(daemon: &Daemon) -> Result<TcpStream> {
    /// RFC 9113 §6.5.2: SETTINGS_INITIAL_WINDOW_SIZE, 0.
    const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
    let mut stream = TcpStream::connect(daemon.address).context("connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let fields =
        block(&[(":method", "GET"), (":scheme", "http"), (":path", "/large"), (":authority", "localhost")]);
    let mut out = [PREFACE, &frame(kind::SETTINGS, 0, 0, &NO_WINDOW)].concat();
    for request in 0..STREAMS {
        out.extend(frame(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, 2 * request + 1, &fields));
    }
    if let Err(error) = stream.write_all(&out).and_then(|()| heads(&mut stream)) {
        ensure!(error.kind() != ErrorKind::WouldBlock, "no response within {PATIENCE:?}");
    }
    Ok(stream)
}

/// Reads frames until every stream has its head or is reset.
///
/// # Errors
/// The daemon has closed the connection, or does not answer.
fn heads(stream: &mut TcpStream) -> io::Result<()> {
    let mut answered = 0;
    while answered < STREAMS {
        // RFC 9113 §4.1: length, kind, flags, stream.
        let mut header = [0; 9];
        stream.read_exact(&mut header)?;
        let [a, b, c, kind, ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload)?;
        answered += u32::from(matches!(kind, kind::HEADERS | kind::RST_STREAM));
    }
    Ok(())
}

/// Reports whether the daemon has closed a connection.
fn is_closed(stream: &mut TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) => return Ok(error.kind() != ErrorKind::WouldBlock),
        }
    }
}
