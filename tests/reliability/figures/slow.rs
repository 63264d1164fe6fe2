//! Figures of thousands of slow clients with a good one among them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground, Latencies, PATIENCE};
use crate::load::Exchange;

/// The number of slow clients.
const CLIENTS: usize = 4000;

/// How long the good client is measured.
const TIME: Duration = Duration::from_secs(5);

/// The limit on a response for which a slow client has to make room: its patience of a second, and two checks.
const ROOM: Duration = Duration::from_millis(1500);

/// Short deadlines, so that the slow clients are closed within the measurement.
const SETTINGS: &str = "http.connections = 8000\nhttp.connections_per_peer = 8000\nhttp.head = \"8s\"\nhttp.first_byte = \"8s\"\n\
     http.body_idle = \"8s\"\nhttp.write_idle = \"8s\"\nhttp.keep_alive = \"8s\"\nlimits.queue = 16\n";

pub(crate) static HEADS: Figure = Figure {
    name: "slow-heads",
    measure: |ground| {
        let good = |daemon: &Daemon, time| daemon.good(time);
        beside(ground, "that send a byte of a head now and then", b"GET /good HTTP/1.1\r\nX-Slow: ", good)
    },
};

pub(crate) static BODIES: Figure = Figure {
    name: "slow-bodies",
    measure: |ground| {
        let head = b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
        // The same handler, from the same address.
        let good = |daemon: &Daemon, time| daemon.ask(&Exchange::get("/read", "ok"), time);
        beside(ground, "that send a byte of a body now and then", head, good)
    },
};

pub(crate) static READERS: Figure = Figure {
    name: "slow-readers",
    measure: |ground| {
        beside(
            ground,
            "that do not read an endless response",
            b"GET /pour HTTP/1.1\r\nHost: localhost\r\n\r\n",
            heads_of_pour,
        )
    },
};

/// Compares the good client alone and beside slow clients, and waits until the slow ones are closed.
fn beside(
    ground: &Ground,
    what: &str,
    begin: &[u8],
    good: fn(&Daemon, Duration) -> Result<Latencies>,
) -> Result<Outcome> {
    let mut daemon = ground.daemon(SETTINGS)?;
    daemon.good(Duration::from_secs(1))?;
    let files = daemon.descriptors()?;
    let alone = good(&daemon, TIME)?.percentile(99);
    let connections: Vec<TcpStream> = (0..CLIENTS).map(|_| slow(&daemon, begin)).collect::<Result<_>>()?;
    let dribbling = AtomicBool::new(true);
    let beside = thread::scope(|scope| {
        scope.spawn(|| dribble(&connections, &dribbling));
        let beside = good(&daemon, TIME);
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
        holds: ratio <= 2.0 || beside <= ROOM,
        text: format!(
            "{CLIENTS} clients {what}: a good client's p99 {beside:.1?} beside them, {alone:.1?} alone ({ratio:.1} times), all gone {gone:.1?} later"
        ),
    })
}

/// Sends HEAD requests to the pouring handler, one after the other, from another address than the slow clients'.
fn heads_of_pour(daemon: &Daemon, time: Duration) -> Result<Latencies> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into())?;
    socket.connect(&daemon.address.into()).context("connect the good client")?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let (start, mut latencies) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        let asked = Instant::now();
        stream.write_all(b"HEAD /pour HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).context("read a head")?;
            head.extend(byte);
        }
        ensure!(head.starts_with(b"HTTP/1.1 200 "), "{}", head.escape_ascii());
        latencies.push(asked.elapsed());
    }
    Ok(Latencies::of(latencies))
}

fn slow(daemon: &Daemon, begin: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(daemon.address).context("connect a slow client")?;
    stream.write_all(begin)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Sends a byte on each connection in turn, one round in five seconds.
fn dribble(connections: &[TcpStream], on: &AtomicBool) {
    let pause = Duration::from_secs(5) / u32::try_from(CLIENTS).unwrap_or(u32::MAX);
    for mut stream in connections.iter().cycle() {
        if !on.load(Ordering::Relaxed) {
            return;
        }
        // The daemon may have closed the connection, which is the goal.
        let _closed = stream.write(b"x");
        thread::park_timeout(pause);
    }
}
