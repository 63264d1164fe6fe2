//! Handlers that take all they can get, and their neighbours.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground};
use crate::load::Exchange;

const TIME: Duration = Duration::from_secs(5);

/// Greedy requests under way at a time.
const GREEDY: usize = 4;

pub(crate) static SPINNERS: Figure = Figure { name: "spinners", measure: spinners };
pub(crate) static QUEUE: Figure = Figure { name: "full-queue", measure: queue };
pub(crate) static ADMIN: Figure = Figure { name: "admin", measure: admin };

/// Keeps a path busy with so many requests while `work` is done.
fn beside<T>(daemon: &Daemon, path: &str, at_once: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Whatever becomes of it: its neighbour is what is measured.
                    let _failed = ask_once(daemon, path);
                }
            });
        }
        let outcome = work();
        done.store(true, Ordering::Relaxed);
        outcome
    })
}

fn ask_once(daemon: &Daemon, path: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(daemon.address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}

fn spinners(ground: &Ground) -> Result<Outcome> {
    let daemon = ground.daemon("limits.cpu = \"2s\"\n")?;
    daemon.good(Duration::from_secs(1))?;
    let alone = daemon.good(TIME)?.percentile(99);
    let among = beside(&daemon, "/spin", GREEDY, || daemon.good(TIME))?.percentile(99);
    let ratio = among.as_secs_f64() / alone.as_secs_f64();
    Ok(Outcome {
        holds: ratio <= 2.0,
        text: format!(
            "{GREEDY} spinning guests: a neighbour's p99 {among:.1?}, {alone:.1?} alone ({ratio:.1} times)"
        ),
    })
}

fn queue(ground: &Ground) -> Result<Outcome> {
    let daemon = ground
        .daemon("limits.concurrency = 8\nlimits.queue = 8\nlimits.time = \"2s\"\nlimits.cpu = \"2s\"\n")?;
    daemon.good(Duration::from_secs(1))?;
    let mut among = beside(&daemon, "/read", 64, || daemon.good(TIME))?;
    let wrong = among.count() == 0;
    Ok(Outcome {
        holds: !wrong,
        text: format!(
            "a handler with a full queue: {} of {} requests to its neighbour succeed, p99 {:.1?}",
            among.count(),
            among.count(),
            among.percentile(99)
        ),
    })
}

fn admin(ground: &Ground) -> Result<Outcome> {
    /// What an operator calls at once.
    const AT_ONCE: Duration = Duration::from_secs(1);
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
    })
}
