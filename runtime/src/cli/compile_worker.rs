//! `portcullis compile-worker`: the child by which the daemon compiles.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::process::ExitCode;

use crate::wasm::{Addressing, Flavour, Stacks, Target, compile};

/// What the daemon says of the code it wants.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The code is for an engine of WASI 0.3.
    #[arg(long = compile::CONCURRENT)]
    concurrent: bool,
    /// The code holds the files and lines that it was made of.
    #[arg(long = compile::LINES)]
    lines: bool,
    /// The code compares each access with the end of its memory.
    #[arg(long = compile::COMPARED)]
    compared: bool,
}

/// Compiles what is on stdin. A complaint is a line on stderr that the daemon takes as it is.
pub(super) fn work(args: Args) -> ExitCode {
    let flavour = if args.concurrent { Flavour::Concurrent } else { Flavour::Sequential };
    let addressing = if args.compared { Addressing::Compared } else { Addressing::Reserved };
    let outcome = if stdout().is_terminal() {
        Err(anyhow::anyhow!("machine code is nothing for a terminal: this verb is for the daemon"))
    } else {
        compile::work(Target { flavour, stacks: Stacks::of(args.lines), addressing })
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _gone = writeln!(stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}
