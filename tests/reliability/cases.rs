//! The table of abuse cases, with their expectations and evidence.

mod client;
mod edges;
mod handler;
mod host;
mod isolation;
mod module;

use std::time::Duration;

use crate::ground::Ground;

/// A case of abuse: one row of the table.
pub(crate) struct Case {
    /// Its number in the list of abuse cases.
    pub(crate) number: u32,
    /// The abuse.
    pub(crate) abuse: &'static str,
    /// The expected behavior.
    pub(crate) wanted: &'static str,
    /// The names of integration or unit tests that prove it.
    pub(crate) tests: &'static [&'static str],
    /// The names of the figures that prove it.
    pub(crate) figures: &'static [&'static str],
    /// Why the evidence is missing or incomplete; empty if it is complete.
    pub(crate) falls_short: &'static str,
}

/// A measurement.
pub(crate) struct Figure {
    /// Its name for `--only`.
    pub(crate) name: &'static str,
    /// The function that measures it.
    pub(crate) measure: fn(&Ground) -> anyhow::Result<Outcome>,
}

/// The result of a measurement.
pub(crate) struct Outcome {
    /// Whether the result meets the expectation.
    pub(crate) holds: bool,
    /// The result as text, with units.
    pub(crate) text: String,
    /// The time from the abuse to a good response on a new connection.
    pub(crate) recovery: Duration,
}

/// A case that tests alone prove.
const fn case(
    number: u32,
    abuse: &'static str,
    wanted: &'static str,
    tests: &'static [&'static str],
) -> Case {
    Case { number, abuse, wanted, tests, figures: &[], falls_short: "" }
}

/// Returns all cases, in order.
pub(crate) fn all() -> Vec<Case> {
    let parts = [
        client::cases(),
        handler::cases(),
        module::cases(),
        host::cases(),
        isolation::cases(),
        edges::cases(),
    ];
    let mut all: Vec<Case> = parts.into_iter().flatten().collect();
    all.sort_by_key(|case| case.number);
    all
}
