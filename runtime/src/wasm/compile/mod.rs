//! Compiles modules to machine code, in child processes that can fail without the daemon.

mod child;
mod features;
mod limits;
mod reason;
mod scan;
mod slots;
mod worker;

pub use limits::CompileLimits;
pub(in crate::wasm) use scan::{MEMORIES, TABLES, look};
pub use worker::work;

use std::path::PathBuf;

use wasmtime::error::Context as _;
use wasmtime::{Engine, Result};

use self::slots::Slots;
use super::engine::artifact::Artifact;
use super::engine::binary_kind::Layer;
use super::engine::settings::Target;

/// The subcommand that makes our executable a compiler process.
pub const VERB: &str = "compile-worker";

/// The flag for code that runs in stores with several concurrent calls.
pub const CONCURRENT: &str = "concurrent";

/// The flag for code with debug information: source files and lines.
pub const LINES: &str = "lines";

/// The flag for code that checks each memory access against the end of its memory.
pub const COMPARED: &str = "compared";

/// The flag with the CPU time limit in seconds.
pub const CPU: &str = "cpu";

/// The flag with the address space limit in bytes.
pub const MEMORY: &str = "memory";

/// The flag with the size limit of a module in bytes.
pub const MODULE: &str = "module";

/// The largest machine code, in bytes.
const LARGEST_CODE: u64 = 512 << 20;

/// Compiles each module in a child process, at low priority and within limits. Modules are not trusted,
/// whether a daemon or a user at a terminal compiles them.
pub struct Compiler {
    program: PathBuf,
    slots: Slots,
}

impl Compiler {
    /// Makes a compiler whose child processes run this executable.
    pub fn child() -> Compiler {
        // Not the path from which the executable was started: a new version may have been installed there,
        // and this engine would refuse its code. The kernel's link always refers to the running executable.
        Compiler { program: PathBuf::from("/proc/self/exe"), slots: Slots::new() }
    }

    /// Reserves a core for requests from now on.
    pub(super) fn serve(&self) {
        self.slots.serve();
    }

    /// Compiles a module that [`look`] has accepted for a target. Blocks until the compiler ends, which is
    /// bounded by its limits. `begin` is called when the compilation starts.
    ///
    /// # Errors
    /// The module is invalid, or the compiler reached a limit, which the text names.
    pub(super) fn compile(
        &self,
        target: Target,
        wasm: &[u8],
        limits: &CompileLimits,
        begin: impl FnOnce(),
    ) -> Result<Artifact> {
        let _slot = self.slots.take(limits.memory);
        begin();
        let code = child::compile(&self.program, target, wasm, limits)?;
        // SAFETY: `precompile` returned these bytes in a child process of this same executable. The child
        // writes nothing else to its stdout (`worker::work`), a pipe that only it holds (`child::compile`).
        Ok(unsafe { Artifact::trust(code) })
    }
}

/// Compiles a module in this process.
///
/// # Errors
/// The module is invalid, or needs a feature that the engines do not have.
pub(super) fn precompile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>> {
    let compiled = match Layer::of(wasm)? {
        Layer::Core => engine.precompile_module(wasm).context("not a valid module"),
        Layer::Component => engine.precompile_component(wasm).context("not a valid component"),
    };
    compiled.map_err(|error| features::lacking(wasm).map_or(error, wasmtime::Error::msg))
}
