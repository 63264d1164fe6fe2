//! How soon the daemon serves again after a fault.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground};

/// What is wanted of a warm start, and of everything less.
const WANTED: Duration = Duration::from_secs(1);

pub(crate) static KILLED: Figure = Figure { name: "killed", measure: killed };
pub(crate) static TRAPS: Figure =
    Figure { name: "trap-storm", measure: |ground| storm(ground, "/trap", "traps") };
pub(crate) static GROWTH: Figure = Figure {
    name: "growth",
    measure: |ground| storm(ground, "/grow", "guests that take all the memory they may"),
};

fn killed(ground: &Ground) -> Result<Outcome> {
    let mut daemon = ground.daemon("")?;
    daemon.recovered()?;
    daemon.kill()?;
    let start = Instant::now();
    let again = ground.start()?;
    again.recovered()?;
    let took = start.elapsed();
    Ok(Outcome {
        holds: took <= WANTED,
        text: format!("SIGKILL: serves again {took:.1?} after it was started again"),
    })
}

/// Asks for what fails, again and again, then for what does not.
fn storm(ground: &Ground, path: &str, what: &str) -> Result<Outcome> {
    const COUNT: usize = 2_000;
    let mut daemon = ground.daemon("limits.memory = \"64MiB\"\n")?;
    daemon.good(Duration::from_secs(1))?;
    let before = daemon.memory()?;
    let start = Instant::now();
    for _ in 0..COUNT {
        fail(&daemon, path)?;
    }
    let each = start.elapsed() / u32::try_from(COUNT)?;
    daemon.alive()?;
    let took = daemon.recovered()?;
    let grown = daemon.memory()?.saturating_sub(before) >> 20;
    Ok(Outcome {
        holds: took <= WANTED && grown < 256,
        text: format!(
            "{COUNT} {what}, {each:.1?} each: a good answer {took:.1?} later, memory {grown} MiB more"
        ),
    })
}

fn fail(daemon: &Daemon, path: &str) -> Result<()> {
    let mut stream = TcpStream::connect(daemon.address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    anyhow::ensure!(response.starts_with("HTTP/1.1 502 "), "{path}: wanted a 502, found {response:?}");
    Ok(())
}
