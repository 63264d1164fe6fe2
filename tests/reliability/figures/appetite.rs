//! Figures of guests that demand much memory, or much time in one operation.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{ask_once, beside, ratio};
use crate::cases::{Figure, Outcome};
use crate::ground::{Daemon, Ground};

/// How many guests run at once.
const AT_ONCE: usize = 16;

pub(crate) static FILLS: Figure = Figure { name: "fills", measure: fills };
pub(crate) static CALLS: Figure = Figure { name: "host-calls", measure: calls };
pub(crate) static SHORTAGE: Figure = Figure { name: "no-memory", measure: shortage };

/// Measures how far beyond its limit one uninterruptible instruction over all memory leads.
fn fills(ground: &Ground) -> Result<Outcome> {
    const CPU: Duration = Duration::from_millis(200);
    /// The allowed excess over the limit: one more such instruction, over fresh memory.
    const BEYOND: Duration = Duration::from_millis(100);
    const TIME: Duration = Duration::from_secs(5);
    let daemon = ground.daemon(&format!("limits.cpu = \"{}ms\"\n", CPU.as_millis()))?;
    daemon.good(Duration::from_secs(1))?;
    let alone = daemon.good(TIME)?.percentile(99);
    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        // Measured in processor time like the limit; on a busy machine it takes longer.
        let before = daemon.cpu()?;
        let response = ask_once(&daemon, "/fill")?;
        ensure!(response.starts_with("HTTP/1.1 504 "), "wanted a 504, found {response:?}");
        longest = longest.max(daemon.cpu()?.saturating_sub(before));
    }
    let among = beside(&daemon, "/fill", 2, || daemon.good(TIME))?.percentile(99);
    let ratio = ratio(among, alone);
    Ok(Outcome {
        holds: longest <= CPU + BEYOND,
        text: format!(
            "guests that fill 120 MiB over and over, with `limits.cpu` at {CPU:?}: over after {longest:.1?} of processor time at most; a \
             neighbour's p99 {among:.1?} beside two of them, {alone:.1?} alone ({ratio:.1} times)"
        ),
        recovery: daemon.recovered()?,
    })
}

/// Measures calls that ask the host to hold a hundred megabytes.
fn calls(ground: &Ground) -> Result<Outcome> {
    /// The memory that a guest has filled, its own.
    const ASKED: u64 = 100 << 20;
    /// The bound for all guests together: their memory, the cost of each call, and what is kept of slots.
    const MOST: u64 = (AT_ONCE as u64) * (ASKED + (8 << 20));
    const ROUNDS: usize = 20;
    let mut daemon = ground.daemon("")?;
    daemon.good(Duration::from_secs(1))?;
    let before = daemon.forget_peak()?;
    for path in ["/random", "/poll", "/pieces"] {
        all_at_once(&daemon, path, ROUNDS, &[502])?;
    }
    daemon.alive()?;
    let grown = daemon.peak()?.saturating_sub(before);
    Ok(Outcome {
        holds: grown <= MOST,
        text: format!(
            "{AT_ONCE} guests at once that fill {} MiB of their memory with random bytes, or wait for or write a million pieces, in one \
             call: memory {} MiB more at its peak",
            ASKED >> 20,
            grown >> 20
        ),
        recovery: daemon.recovered()?,
    })
}

/// Measures guests that demand more memory than the daemon can get.
fn shortage(ground: &Ground) -> Result<Outcome> {
    const LEFT: u64 = 256 << 20;
    let mut daemon = ground.daemon("")?;
    daemon.good(Duration::from_secs(1))?;
    daemon.leave(LEFT)?;
    // The guest is refused the memory, or the host has none to start it with.
    all_at_once(&daemon, "/grow", 20, &[502, 503])?;
    daemon.alive()?;
    Ok(Outcome {
        holds: true,
        text: format!(
            "{AT_ONCE} guests at once that take 128 MiB each, where {} MiB are left (RLIMIT_DATA): each gets a 502 or 503, it serves on",
            LEFT >> 20
        ),
        recovery: daemon.recovered()?,
    })
}

/// Sends failing requests from many connections, again and again.
fn all_at_once(daemon: &Daemon, path: &str, rounds: usize, statuses: &[u16]) -> Result<()> {
    let ask = || -> Result<()> {
        for _ in 0..rounds {
            let response = ask_once(daemon, path)?;
            let wanted = |status: &u16| response.starts_with(&format!("HTTP/1.1 {status} "));
            ensure!(statuses.iter().any(wanted), "{path}: wanted one of {statuses:?}, found {response:?}");
        }
        Ok(())
    };
    thread::scope(|scope| {
        let asking: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(ask)).collect();
        let mut joined = asking.into_iter().map(|one| one.join());
        joined.try_for_each(|outcome| outcome.map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })
}
