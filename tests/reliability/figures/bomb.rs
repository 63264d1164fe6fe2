//! The figure of swapping in a module that is expensive to compile, under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::bomb::bomb;
use crate::cases::{Figure, Outcome};
use crate::ground::Ground;

/// Nested blocks, which this compiler handles easily.
const BLOCKS: usize = 100_000;

pub(crate) static SWAP: Figure = Figure { name: "compile-bomb", measure: beside };

fn beside(ground: &Ground) -> Result<Outcome> {
    let daemon = ground.daemon("")?;
    daemon.good(Duration::from_secs(1))?;
    let nested =
        format!("(module (func (export \"_start\") {}{}))", "(block ".repeat(BLOCKS), ")".repeat(BLOCKS));
    let alone = daemon.good(Duration::from_secs(5))?.percentile(99);
    let done = AtomicBool::new(false);
    let (refused, mut beside) = thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let refused = daemon.job("swap?a=good", &bomb());
            done.store(true, Ordering::Relaxed);
            refused
        });
        let mut all = daemon.good(Duration::from_secs(1))?;
        while !done.load(Ordering::Relaxed) {
            all.add(daemon.good(Duration::from_secs(1))?);
        }
        anyhow::Ok((swapping.join().map_err(|_| anyhow::anyhow!("the swap panicked"))??, all))
    })?;
    ensure!(refused.contains("compiling it takes "), "the bomb was not refused: {refused}");
    // The nested module's outcome is reported separately: refused for its entry, or accepted.
    let nested = daemon.job("swap?a=trap", &wat::parse_str(nested)?)?;
    let beside_p99 = beside.percentile(99);
    let ratio = beside_p99.as_secs_f64() / alone.as_secs_f64();
    Ok(Outcome {
        holds: ratio <= 2.0,
        recovery: daemon.recovered()?,
        text: format!(
            "a bomb is refused; p99 {beside_p99:.1?} meanwhile, {alone:.1?} before ({ratio:.1} times); \
             {BLOCKS} nested blocks: {}",
            nested.lines().next().unwrap_or_default()
        ),
    })
}
