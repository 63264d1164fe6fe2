//! `portcullis compile-worker`: the child process in which the daemon compiles a module.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

use crate::wasm::compile::{CompileLimits, Work};
use crate::wasm::{Addressing, EngineKind, Stacks, Target, compile};

/// The target and the limits, as the daemon passes them.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Find the mistakes of the module without compiling its functions.
    #[arg(long = compile::EXAMINE)]
    examine: bool,
    /// Compile for an engine of WASI 0.3.
    #[arg(long = compile::CONCURRENT)]
    concurrent: bool,
    /// Keep the source files and lines in the code.
    #[arg(long = compile::LINES)]
    lines: bool,
    /// Compare each memory access with the end of the memory.
    #[arg(long = compile::COMPARED)]
    compared: bool,
    /// Limit the CPU time, in seconds.
    #[arg(long = compile::CPU, value_name = "SECONDS", default_value_t = CompileLimits::default().cpu.as_secs())]
    cpu: u64,
    /// Limit the address space, in bytes.
    #[arg(long = compile::MEMORY, value_name = "BYTES", default_value_t = CompileLimits::default().memory)]
    memory: u64,
    /// Limit the size of the module, in bytes.
    #[arg(long = compile::MODULE, value_name = "BYTES", default_value_t = CompileLimits::default().module)]
    module: u64,
}

/// Compiles or examines the module on stdin. An error is one line on stderr, which the daemon passes on unchanged.
pub(super) fn work(args: Args) -> ExitCode {
    let kind = if args.concurrent { EngineKind::Concurrent } else { EngineKind::Sequential };
    let addressing = if args.compared { Addressing::Compared } else { Addressing::Reserved };
    let outcome = if stdout().is_terminal() {
        Err(anyhow::anyhow!("machine code is not written to a terminal: this verb is internal to the daemon"))
    } else {
        let cpu = Duration::from_secs(args.cpu);
        let limits =
            CompileLimits { cpu, memory: args.memory, module: args.module, ..CompileLimits::default() };
        let work = if args.examine { Work::Examine } else { Work::Compile };
        compile::work(work, Target { kind, stacks: Stacks::of(args.lines), addressing }, &limits)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _gone = writeln!(stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}
