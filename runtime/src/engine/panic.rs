//! Finds the message of a Rust panic in the stderr of a guest.

use crate::observe::plain;

/// The longest message for one line of the log, in characters.
const LONGEST: usize = 500;

/// Finds the last panic in the end of a stderr, in the format of Rust's standard library:
///
/// ```text
/// thread 'main' (1) panicked at src/main.rs:17:5:
/// out of cheese
/// note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
/// ```
///
/// Returns it on one line: `panicked at src/main.rs:17:5: out of cheese`.
pub(super) fn message(stderr: &str) -> Option<String> {
    let begin = stderr.rfind("panicked at ")?;
    let lines = stderr[begin..].lines().map(str::trim_end);
    let told = lines.take_while(|line| !line.starts_with("note: ") && !line.starts_with("stack backtrace:"));
    let line = told.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    Some(plain(&line).chars().take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_panic_is_told_on_one_line() {
        let stderr = "ready\n\nthread 'main' (1) panicked at src/main.rs:17:5:\nout of cheese\r\nand \x1bbread\n\
                      note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        assert_eq!(
            message(stderr).as_deref(),
            Some("panicked at src/main.rs:17:5: out of cheese and \\u{1b}bread")
        );
    }

    #[test]
    fn without_a_panic_there_is_nothing_to_tell_and_a_long_one_is_cut() {
        assert_eq!(message("no disk left\n"), None);
        assert_eq!(message(&format!("panicked at {}", "x".repeat(9000))).map(|line| line.len()), Some(500));
    }
}
