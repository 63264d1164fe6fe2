//! A profile as a flame graph: an SVG that browsers open, with search and zoom.

use inferno::flamegraph::{self, Options};

use super::collapsed::collapsed;
use crate::observe::profile::StackCounts;

/// Draws a flame graph with this title. `unit` is what the counts are of: `samples`.
///
/// # Errors
/// There is no sample.
pub fn flame_graph(stacks: &StackCounts, title: &str, unit: &str) -> anyhow::Result<Vec<u8>> {
    let mut options = Options::default();
    options.title = title.to_owned();
    unit.clone_into(&mut options.count_name);
    // The same profile gives the same colours.
    options.hash = true;
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, collapsed(stacks).lines(), &mut svg)?;
    Ok(svg)
}
