//! Thousands of clients that take their time, and a good one among them.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground};

/// Slow clients at once.
const CLIENTS: usize = 4000;

/// How long the good client is measured.
const TIME: Duration = Duration::from_secs(5);

/// The deadlines are short, so that the slow ones can be seen to be gone.
const SETTINGS: &str = "http.connections = 8000\nhttp.connections_per_peer = 8000\nhttp.head = \"8s\"\nhttp.first_byte = \"8s\"\n\
     http.body_idle = \"8s\"\nhttp.write_idle = \"8s\"\nhttp.keep_alive = \"8s\"\nlimits.queue = 16\n";

pub(crate) static HEADS: Figure = Figure {
    name: "slow-heads",
    measure: |ground| {
        beside(ground, "that send a byte of a head now and then", b"GET /good HTTP/1.1\r\nX-Slow: ")
    },
};

pub(crate) static BODIES: Figure = Figure {
    name: "slow-bodies",
    measure: |ground| {
        let head = b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
        beside(ground, "that send a byte of a body now and then", head)
    },
};

pub(crate) static READERS: Figure = Figure {
    name: "slow-readers",
    measure: |ground| {
        beside(
            ground,
            "that do not read an endless response",
            b"GET /pour HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
    },
};

/// Compares the good client with itself beside slow ones, and waits until those are gone.
fn beside(ground: &Ground, what: &str, begin: &[u8]) -> Result<Outcome> {
    let mut daemon = ground.daemon(SETTINGS)?;
    daemon.good(Duration::from_secs(1))?;
    let files = daemon.descriptors()?;
    let alone = daemon.good(TIME)?.percentile(99);
    let connections: Vec<TcpStream> = (0..CLIENTS).map(|_| slow(&daemon, begin)).collect::<Result<_>>()?;
    let dribbling = AtomicBool::new(true);
    let beside = thread::scope(|scope| {
        scope.spawn(|| dribble(&connections, &dribbling));
        let beside = daemon.good(TIME);
        dribbling.store(false, Ordering::Relaxed);
        beside
    })?
    .percentile(99);
    let recovery = daemon.recovered()?;
    let gone = daemon.emptied(files)?;
    daemon.alive()?;
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    Ok(Outcome {
        recovery,
        holds: ratio <= 2.0,
        text: format!(
            "{CLIENTS} clients {what}: a good client's p99 {beside:.1?} beside them, {alone:.1?} alone ({ratio:.1} times), all gone {gone:.1?} later"
        ),
    })
}

fn slow(daemon: &Daemon, begin: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(daemon.address).context("connect a slow client")?;
    stream.write_all(begin)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Sends a byte on each connection in turn, all of them once in five seconds.
fn dribble(connections: &[TcpStream], on: &AtomicBool) {
    let pause = Duration::from_secs(5) / u32::try_from(CLIENTS).unwrap_or(u32::MAX);
    for mut stream in connections.iter().cycle() {
        if !on.load(Ordering::Relaxed) {
            return;
        }
        // One that the daemon has closed by now is what we want.
        let _closed = stream.write(b"x");
        thread::park_timeout(pause);
    }
}
