//! A case of abuse: what it is, what is wanted, and what shows that it is so.

mod client;
mod handler;
mod host;
mod module;

use std::time::Duration;

use crate::ground::Ground;

/// One row of the table.
pub(crate) struct Case {
    /// Its number in the list of abuse cases.
    pub(crate) number: u32,
    /// What is done.
    pub(crate) abuse: &'static str,
    /// What has to happen.
    pub(crate) wanted: &'static str,
    /// Tests of the real program, or of a unit, that show it.
    pub(crate) tests: &'static [&'static str],
    /// What is measured of it, by name.
    pub(crate) figures: &'static [&'static str],
    /// Why nothing shows it, or not all of it; empty: nothing is missing.
    pub(crate) falls_short: &'static str,
}

/// Something that is measured.
pub(crate) struct Figure {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    /// Measures it.
    pub(crate) measure: fn(&Ground) -> anyhow::Result<Outcome>,
}

/// What a measurement came to.
pub(crate) struct Outcome {
    /// Whether it is within what is wanted.
    pub(crate) holds: bool,
    /// The figure, with its unit.
    pub(crate) text: String,
    /// How long after the abuse there was a good answer on a new connection.
    pub(crate) recovery: Duration,
}

/// A case that tests alone show.
const fn case(
    number: u32,
    abuse: &'static str,
    wanted: &'static str,
    tests: &'static [&'static str],
) -> Case {
    Case { number, abuse, wanted, tests, figures: &[], falls_short: "" }
}

/// Returns all cases in their order.
pub(crate) fn all() -> Vec<Case> {
    [client::cases(), handler::cases(), module::cases(), host::cases()].into_iter().flatten().collect()
}
