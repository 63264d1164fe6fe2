//! `portcullis compile-worker`: the child by which the daemon compiles.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::process::ExitCode;

use crate::wasm::compile;

/// Compiles what is on stdin. A complaint is a line on stderr that the daemon takes as it is.
pub(super) fn work() -> ExitCode {
    let outcome = if stdout().is_terminal() {
        Err(anyhow::anyhow!("machine code is nothing for a terminal: this verb is for the daemon"))
    } else {
        compile::work()
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _gone = writeln!(stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}
