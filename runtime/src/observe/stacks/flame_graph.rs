//! A profile as a flame graph: an SVG that browsers open, with search and zoom.

use std::fmt::Write as _;

use inferno::flamegraph::{self, Options};

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
    let mut lines = String::new();
    for (stack, count) in stacks {
        // Writing to a string cannot fail.
        let _infallible = writeln!(lines, "{stack} {count}");
    }
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.lines(), &mut svg)?;
    Ok(svg)
}
