//! Runs the tests that prove cases, with cargo, and parses its output.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
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
    let passed = outcomes(stdout)?;
    child.wait()?;
    ensure!(!passed.is_empty(), "cargo test ran no test: see above");
    Ok(passed)
}

/// Returns the results in a file with the output of `cargo test`, as [`run`] does.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, bool>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let passed = outcomes(BufReader::new(file))?;
    ensure!(!passed.is_empty(), "{}: this is no output of `cargo test`", path.display());
    Ok(passed)
}

/// Reads the output of `cargo test`. It may hold bytes of a test's own that are no text.
fn outcomes(mut output: impl BufRead) -> Result<BTreeMap<String, bool>> {
    let mut passed = BTreeMap::new();
    let mut bytes = Vec::new();
    while output.read_until(b'\n', &mut bytes)? > 0 {
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end();
        if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... ")) {
            crate::tell(line);
            passed.insert(name.trim_end_matches(" - should panic").to_owned(), outcome == "ok");
        }
        bytes.clear();
    }
    Ok(passed)
}
