//! Runs the tests that prove cases, with cargo, and parses its output.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Runs integration and unit tests by their full names. Returns whether each passed; a test that does not exist is
/// missing in the result.
pub(crate) fn run(names: &[&str]) -> Result<BTreeMap<String, bool>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The whole workspace, as `cargo test` in the README: other features would rebuild every dependency.
    command.args(["test", "--workspace", "--lib", "--test", "it", "--no-fail-fast", "--", "--exact"]);
    command.args(names).current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("run cargo test")?;
    let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let mut passed = BTreeMap::new();
    for line in stdout.lines() {
        let line = line?;
        let Some((name, outcome)) = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... "))
        else {
            continue;
        };
        crate::tell(&line);
        passed.insert(name.trim_end_matches(" - should panic").to_owned(), outcome == "ok");
    }
    child.wait()?;
    ensure!(!passed.is_empty(), "cargo test ran no test: see above");
    Ok(passed)
}
