//! `cargo bench --bench reliability`: runs the abuse cases and writes `tests/RELIABILITY.md`.
//!
//! A case is proved by tests of the real program, by a figure measured here, or by both. A case that is not run has a
//! reason.

#[path = "../it/harness/bomb.rs"]
mod bomb;
#[path = "../bench/load/mod.rs"]
mod load;

mod cases;
mod figures;
mod ground;
mod guests;
#[path = "../it/harness/random.rs"]
mod random;
mod report;
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use cases::Figure;
use ground::Ground;

/// The file of the table.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/RELIABILITY.md");

/// The limit on open files of the daemon and of the clients: 10,000 connections, and as many in reserve.
const DESCRIPTORS: u64 = 20_000;

/// Runs the abuse cases against the real daemon and writes what came of each.
#[derive(Parser)]
#[command(override_usage = "cargo bench --bench reliability -- [OPTIONS]")]
struct Options {
    /// Measure these figures only, and write nothing. May be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Take the results of tests from this output of `cargo test`, and run none.
    #[arg(long, value_name = "FILE")]
    tested: Option<PathBuf>,
    /// Run: `cargo bench` passes this, `cargo test --all-targets` does not.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options {
        Options { bench: false, .. } => {
            tell("nothing is run: this is for `cargo bench`");
            Ok(true)
        }
        Options { only, .. } if !only.is_empty() => {
            measure(&figures::chosen(only)).map(|measured| measured.values().all(|outcome| outcome.holds))
        }
        Options { tested, .. } => all(tested.as_deref()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs everything, but for tests whose output is in `tested`, and writes the table. Returns whether all cases held.
fn all(tested: Option<&Path>) -> Result<bool> {
    let start = Instant::now();
    let cases = cases::all();
    let names: Vec<&str> = cases.iter().flat_map(|case| case.tests).copied().collect();
    tell(&format!("{} tests of {} cases", names.len(), cases.len()));
    let tested = match tested {
        Some(output) => tests::read(output)?,
        None => tests::run(&names)?,
    };
    let measured = measure(&figures::ALL)?;
    let table = report::table(&cases, &tested, &measured)?;
    fs::write(Path::new(TABLE), &table.text).context(TABLE)?;
    tell(&format!(
        "{} cases run, {} held, {} not run, in {} s: see tests/RELIABILITY.md",
        table.run,
        table.held,
        table.left,
        start.elapsed().as_secs()
    ));
    Ok(table.run == table.held)
}

/// Measures figures one after the other, because each needs the whole machine.
fn measure(figures: &[&'static Figure]) -> Result<BTreeMap<&'static str, cases::Outcome>> {
    ensure!(!figures.is_empty(), "--only: there is no such figure; there are {}", figures::names());
    raise_descriptor_limit()?;
    let ground = Ground::new()?;
    let mut measured = BTreeMap::new();
    for figure in figures {
        tell(&format!("{} ...", figure.name));
        let outcome = (figure.measure)(&ground).unwrap_or_else(|error| cases::Outcome {
            holds: false,
            text: format!("could not be measured: {error:#}"),
            recovery: Duration::ZERO,
        });
        tell(&format!(
            "{}: {}; a good answer {:.1?} later ({})",
            figure.name,
            outcome.text,
            outcome.recovery,
            if outcome.holds { "holds" } else { "FAILS" }
        ));
        measured.insert(figure.name, outcome);
    }
    Ok(measured)
}

/// Raises the limit on open files of this process and its children.
fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Only root may exceed the hard limit.
    let wanted = maximum.map(|maximum| maximum.max(DESCRIPTORS));
    setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted }).with_context(|| {
        let allowed = maximum.unwrap_or_default();
        format!(
            "{DESCRIPTORS} open files are needed, {allowed} are allowed: raise the hard limit (ulimit -Hn)"
        )
    })
}

/// Prints a line for the person who runs this.
fn tell(line: &str) {
    // A closed stderr has no reader, so the line is dropped.
    let _gone = writeln!(std::io::stderr(), "{line}");
}
