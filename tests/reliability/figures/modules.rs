//! The figure of more modules than the cache of compiled modules has room for.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::cases::{Figure, Outcome};
use crate::ground::Ground;
use crate::guests::GUESTS;

/// The modules beside the other guests.
const MODULES: usize = 1_000;

/// The limit on a warm start, which compiles nothing.
const WARM: Duration = Duration::from_secs(10);

pub(crate) static STARTS: Figure = Figure { name: "modules", measure: starts };

/// Starts twice with a great many modules, and the smallest possible cache.
fn starts(ground: &Ground) -> Result<Outcome> {
    let mut tables = String::new();
    for number in 0..MODULES {
        // Each is another module: with the same bytes, they would share an entry.
        let text = format!(
            r#"(module (memory (export "memory") 1) (data (i32.const 0) "{number}") (func (export "_start")))"#
        );
        fs::write(ground.path(&format!("m{number}.wasm")), wat::parse_str(text)?)?;
        write!(
            tables,
            "[handler.m{number}]\nmodule = \"m{number}.wasm\"\n\
             [[route]]\npath = \"/m{number}\"\nhandler = \"m{number}\"\n"
        )?;
    }
    let start = Instant::now();
    let mut daemon = ground.daemon_with("cache_size = \"1MiB\"\n", &tables)?;
    let cold = start.elapsed();
    daemon.end(Signal::TERM)?;
    let start = Instant::now();
    let daemon = ground.start()?;
    let warm = start.elapsed();
    let status = daemon.job("status", b"")?;
    let all = MODULES + GUESTS.len();
    let (_, cache) = status.split_once("MiB of 1; ").context("no figures of the cache in `status`")?;
    let found = cache.split('"').next().unwrap_or_default();
    Ok(Outcome {
        holds: found == format!("{all} found, 0 compiled") && warm <= WARM,
        text: format!(
            "{all} modules, and room for 1 MiB of them: the first start takes {cold:.1?}, the second {warm:.1?} ({found})"
        ),
        recovery: daemon.recovered()?,
    })
}
