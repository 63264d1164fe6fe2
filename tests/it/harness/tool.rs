//! Programs of the host that a test needs.

use std::io::Write as _;
use std::path::PathBuf;

/// Reports whether all of these programs are installed. If one is missing, the test fails in CI and is skipped with a
/// message elsewhere. `package` is the Debian package that the message names.
pub(crate) fn found(programs: &[&str], package: &str) -> bool {
    let Some(missing) = programs.iter().find(|program| on_path(program).is_none()) else { return true };
    let advice = format!("{missing} is not installed: apt-get install {package}");
    assert!(std::env::var_os("CI").is_none(), "{advice}");
    // Written to the terminal directly, because the output of a passing test is not shown.
    let _told = writeln!(std::io::stderr(), "skipped: {advice}");
    false
}

/// Finds a program.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).map(|dir| dir.join(program)).find(|file| file.is_file())
}
