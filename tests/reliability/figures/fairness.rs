//! Figures of handlers that take all they can get, and of their neighbors.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{beside, ratio};
use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground, PATIENCE};
use crate::load::Exchange;

const TIME: Duration = Duration::from_secs(5);

/// The limit on the response time of an operator's call, and of a refusal.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The bytes that a pipe of the daemon holds.
const PIPE: usize = 64 << 10;

/// The number of greedy requests in progress.
const GREEDY: usize = 4;

pub(crate) static SPINNERS: Figure = Figure { name: "spinners", measure: spinners };
pub(crate) static QUEUE: Figure = Figure { name: "full-queue", measure: queue };
pub(crate) static ADMIN: Figure = Figure { name: "admin", measure: admin };

fn spinners(ground: &Ground) -> Result<Outcome> {
    let daemon = ground.daemon("limits.cpu = \"2s\"\n")?;
    daemon.good(Duration::from_secs(1))?;
    let alone = daemon.good(TIME)?.percentile(99);
    let among = beside(&daemon, "/spin", GREEDY, || daemon.good(TIME))?.percentile(99);
    let ratio = ratio(among, alone);
    Ok(Outcome {
        holds: ratio <= 2.0,
        text: format!(
            "{GREEDY} spinning guests: a neighbour's p99 {among:.1?}, {alone:.1?} alone ({ratio:.1} times)"
        ),
        recovery: daemon.recovered()?,
    })
}

fn queue(ground: &Ground) -> Result<Outcome> {
    const SLOTS: usize = 8;
    const ASKED: usize = 64;
    let daemon = ground.daemon(&format!("limits.concurrency = {SLOTS}\nlimits.queue = {SLOTS}\n"))?;
    daemon.good(Duration::from_secs(1))?;
    let alone = daemon.good(TIME)?.percentile(99);
    let held = (0..ASKED).map(|_| hold(&daemon)).collect::<Result<Vec<_>>>()?;
    // Requests with a slot or a place in the queue get no response before their bodies arrive. Which ones those are is
    // chance: connections are accepted on several threads.
    let asked = Instant::now();
    let refused = loop {
        let refused = held.iter().filter(|stream| is_refused(stream)).count();
        if refused >= ASKED - 2 * SLOTS {
            break refused;
        }
        ensure!(asked.elapsed() < AT_ONCE, "{refused} of {ASKED} requests are refused within {AT_ONCE:?}");
        thread::park_timeout(Duration::from_millis(5));
    };
    let among = daemon.good(TIME)?.percentile(99);
    drop(held);
    let start = Instant::now();
    while !super::ask_once(&daemon, "/read")?.starts_with("HTTP/1.1 200 ") {
        ensure!(start.elapsed() < PATIENCE, "its slots do not come back");
    }
    let recovery = start.elapsed();
    let ratio = ratio(among, alone);
    // All requests come from one address. A quarter of the line is for other addresses.
    let wanted = ASKED - 2 * SLOTS..=ASKED - 2 * SLOTS + SLOTS / 4;
    Ok(Outcome {
        holds: ratio <= 2.0 && wanted.contains(&refused),
        text: format!(
            "{ASKED} requests for {SLOTS} slots and {SLOTS} places in line: {} are refused at once; a neighbour's p99 \
             {among:.1?}, {alone:.1?} alone ({ratio:.1} times)",
            refused
        ),
        recovery,
    })
}

/// Sends a request with as much of its body as a pipe holds, and holds back the rest. Where slots are scarce, a request
/// waits for that much before it asks for a slot.
fn hold(daemon: &Daemon) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(daemon.address)?;
    stream.write_all(b"POST /read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n")?;
    stream.write_all(&[b'x'; PIPE])?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Whether a 503 has arrived.
fn is_refused(stream: &TcpStream) -> bool {
    let mut head = [0; 13];
    stream.peek(&mut head).is_ok_and(|length| length == head.len()) && head == *b"HTTP/1.1 503 "
}

fn admin(ground: &Ground) -> Result<Outcome> {
    let daemon = ground.daemon("limits.cpu = \"2s\"\n")?;
    let health = Exchange::get("/healthz", "open\n");
    let (mut slowest, mut healthz) = beside(&daemon, "/spin", 64, || {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let start = Instant::now();
            daemon.job("status", b"")?;
            slowest = slowest.max(start.elapsed());
        }
        Ok((slowest, daemon.ask(&health, TIME)?))
    })?;
    let health = healthz.percentile(99);
    slowest = slowest.max(health);
    Ok(Outcome {
        holds: slowest <= AT_ONCE,
        text: format!(
            "64 spinning requests: `/healthz` p99 {health:.1?}, `status` over the admin socket {slowest:.1?} at worst"
        ),
        recovery: daemon.recovered()?,
    })
}
