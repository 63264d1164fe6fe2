//! Parses a command line into the parts of a job.

use anyhow::{Context as _, Result};

use crate::job::Env;

/// A parsed command line: `VERBOSE=1 echo hello`.
pub(super) struct CommandLine {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) env: Env,
}

/// Splits a line at white space; there are no quotes. A word with `=` is a variable at any position,
/// as in Docker's `ParseJob`.
///
/// # Errors
/// No word is left for the name, or a variable cannot be set. Docker accepted `=x`, which no process
/// can have.
pub(super) fn line(text: &str) -> Result<CommandLine> {
    let mut env = Env::new();
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        match word.split_once('=') {
            Some((name, value)) => env.set(name, value)?,
            None => words.push(word.to_owned()),
        }
    }
    let mut words = words.into_iter();
    let name = words.next().with_context(|| format!("empty command: {text:?}"))?;
    Ok(CommandLine { name, args: words.collect(), env })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn variables_may_stand_anywhere() {
        let parsed = line("VERBOSE=1  echo\thello X= A=b=c world\n").unwrap();
        assert_eq!(parsed.name, "echo");
        assert_eq!(parsed.args, ["hello", "world"]);
        assert_eq!(parsed.env.iter().collect::<Vec<_>>(), [("VERBOSE", "1"), ("X", ""), ("A", "b=c")]);
    }

    #[test]
    fn a_line_without_a_name_is_refused() {
        for text in ["", " \t", "A=1 B=2", "=x echo"] {
            assert!(line(text).is_err(), "{text:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(text in ".{0,64}") {
            let _either = line(&text);
        }
    }
}
