//! Programs of the host that a test cannot do without.

use std::io::Write as _;

/// Reports whether all of these programs are there. Where one is missing, a test of ours fails in CI,
/// and is skipped with a message elsewhere; `package` is Debian's, for whoever reads that.
pub(crate) fn found(programs: &[&str], package: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &&&str| std::env::split_paths(&paths).any(|dir| dir.join(program).is_file());
    let Some(missing) = programs.iter().find(|program| !there(program)) else { return true };
    let advice = format!("{missing} is not installed: apt-get install {package}");
    assert!(std::env::var_os("CI").is_none(), "{advice}");
    // To the terminal itself: what a test prints is shown only when it fails.
    let _told = writeln!(std::io::stderr(), "skipped: {advice}");
    false
}
