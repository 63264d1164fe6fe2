//! Programs of the host that a test needs.

use std::io::Write as _;

/// Reports whether all of these programs are installed. If one is missing, the test fails in CI and is skipped with a
/// message elsewhere. `package` is the Debian package that the message names.
pub(crate) fn found(programs: &[&str], package: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &&&str| std::env::split_paths(&paths).any(|dir| dir.join(program).is_file());
    let Some(missing) = programs.iter().find(|program| !there(program)) else { return true };
    let advice = format!("{missing} is not installed: apt-get install {package}");
    assert!(std::env::var_os("CI").is_none(), "{advice}");
    // Written to the terminal directly, because the output of a passing test is not shown.
    let _told = writeln!(std::io::stderr(), "skipped: {advice}");
    false
}
