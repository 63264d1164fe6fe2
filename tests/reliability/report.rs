//! The table of cases and their results.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use crate::cases::{Case, Outcome};

/// The text of the table, and its totals.
pub(crate) struct Table {
    pub(crate) text: String,
    /// The number of cases that were run.
    pub(crate) run: usize,
    /// The number of cases that were run and held.
    pub(crate) held: usize,
    /// The number of cases that were not run.
    pub(crate) left: usize,
}

/// The result of a case.
enum Verdict {
    Holds(String),
    Fails(String),
    NotRun,
}

/// Writes the table.
///
/// # Errors
/// The kernel does not describe the machine.
pub(crate) fn table(
    cases: &[Case],
    tested: &BTreeMap<String, bool>,
    measured: &BTreeMap<&'static str, Outcome>,
) -> Result<Table> {
    let mut table = Table { text: String::new(), run: 0, held: 0, left: 0 };
    let mut rows = String::new();
    for case in cases {
        let (word, text) = match result(case, tested, measured) {
            Verdict::Holds(text) => {
                table.run += 1;
                table.held += 1;
                ("holds", text)
            }
            Verdict::Fails(text) => {
                table.run += 1;
                ("**fails**", text)
            }
            Verdict::NotRun => {
                table.left += 1;
                ("not run", String::new())
            }
        };
        let said: Vec<&str> =
            [text.as_str(), case.falls_short].into_iter().filter(|part| !part.is_empty()).collect();
        writeln!(
            rows,
            "| {} | {} | {} | {word} | {} | {} |",
            case.number,
            case.abuse,
            case.wanted,
            recovery(case, measured),
            said.join("; ")
        )?;
    }
    table.text = format!(
        "# Reliability\n\n\
         What a client, a handler, a module or the host may do to the daemon, and what comes of it. Written by\n\
         `cargo bench --bench reliability`, which runs the cases and takes some minutes; do not edit.\n\n\
         {} cases: {} run, {} of them hold; {} not run, each with its reason.\n\n\
         {} \"Good again\" is the time from the end of the abuse to a whole answer on a new\n\
         connection, where that was measured.\n\n\
         | # | abuse or fault | wanted | result | good again | shown by |\n|--:|---|---|---|--:|---|\n{rows}",
        cases.len(),
        table.run,
        table.held,
        table.left,
        circumstances()?,
    );
    Ok(table)
}

/// Returns the recovery time of a case; empty if no figure measured it.
fn recovery(case: &Case, measured: &BTreeMap<&'static str, Outcome>) -> String {
    let slowest =
        case.figures.iter().filter_map(|figure| measured.get(figure)).map(|outcome| outcome.recovery).max();
    slowest.map(|time| format!("{time:.1?}")).unwrap_or_default()
}

fn result(
    case: &Case,
    tested: &BTreeMap<String, bool>,
    measured: &BTreeMap<&'static str, Outcome>,
) -> Verdict {
    if case.tests.is_empty() && case.figures.is_empty() {
        return Verdict::NotRun;
    }
    let mut holds = true;
    let mut said = Vec::new();
    for figure in case.figures {
        match measured.get(figure) {
            Some(outcome) => {
                holds &= outcome.holds;
                said.push(outcome.text.clone());
            }
            None => {
                holds = false;
                said.push(format!("there is no figure {figure}"));
            }
        }
    }
    for name in case.tests {
        match tested.get(*name) {
            Some(true) => said.push(format!("`{name}`")),
            Some(false) => {
                holds = false;
                said.push(format!("`{name}` failed"));
            }
            None => {
                holds = false;
                said.push(format!("there is no test `{name}`"));
            }
        }
    }
    let said = said.join(", ");
    if holds { Verdict::Holds(said) } else { Verdict::Fails(said) }
}

/// Describes the machine.
fn circumstances() -> Result<String> {
    let cores = std::thread::available_parallelism().context("count the processors")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version")?;
    Ok(format!("On {cores} cores, which clients and daemon share, Linux {}, loopback.", kernel.trim()))
}
