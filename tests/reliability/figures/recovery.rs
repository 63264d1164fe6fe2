//! Figures of how soon the daemon serves again after a fault.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::ask_once;
use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground};

/// The limit on a warm start, and on any other recovery.
const WANTED: Duration = Duration::from_secs(1);

/// The limit on memory growth after a storm, in bytes: sandbox slots that were never used before.
const MOST: u64 = 256 << 20;

/// How many failing requests a storm has.
const COUNT: usize = 2_000;

pub(crate) static KILLED: Figure = Figure { name: "killed", measure: |ground| ended(ground, Signal::KILL) };
pub(crate) static CRASHED: Figure =
    Figure { name: "crashed", measure: |ground| ended(ground, Signal::ABORT) };
pub(crate) static TRAPS: Figure =
    Figure { name: "trap-storm", measure: |ground| storm(ground, "/trap", "traps") };
pub(crate) static GROWTH: Figure = Figure {
    name: "growth",
    measure: |ground| storm(ground, "/grow", "guests that take all the memory they may"),
};

/// Ends the daemon by a signal, and starts it again as systemd does.
fn ended(ground: &Ground, signal: Signal) -> Result<Outcome> {
    let mut daemon = ground.daemon("")?;
    let status = daemon.end(signal)?;
    let start = Instant::now();
    let again = ground.start()?;
    again.recovered()?;
    let recovery = start.elapsed();
    Ok(Outcome {
        holds: recovery <= WANTED,
        text: format!("{status}: started again, it serves after {recovery:.1?}"),
        recovery,
    })
}

/// Sends failing requests, again and again, then good ones.
fn storm(ground: &Ground, path: &str, what: &str) -> Result<Outcome> {
    let mut daemon = ground.daemon("")?;
    daemon.good(Duration::from_secs(1))?;
    let before = daemon.memory()?;
    let start = Instant::now();
    for _ in 0..COUNT {
        fails(&daemon, path)?;
    }
    let each = start.elapsed() / u32::try_from(COUNT)?;
    daemon.alive()?;
    let recovery = daemon.recovered()?;
    let grown = daemon.memory()?.saturating_sub(before);
    Ok(Outcome {
        holds: recovery <= WANTED && grown < MOST,
        text: format!("{COUNT} {what}, {each:.1?} each, memory {} MiB more", grown >> 20),
        recovery,
    })
}

fn fails(daemon: &Daemon, path: &str) -> Result<()> {
    let response = ask_once(daemon, path)?;
    ensure!(response.starts_with("HTTP/1.1 502 "), "{path}: wanted a 502, found {response:?}");
    Ok(())
}
