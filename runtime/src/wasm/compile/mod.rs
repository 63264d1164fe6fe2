//! From a module to machine code: in a child of ourselves that may fail alone.

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
use super::artifact::Artifact;
use super::layer::Layer;
use super::settings::Target;

/// The verb by which a program of ours is told to be the child.
pub const VERB: &str = "compile-worker";

/// What tells the child that the code is for stores with several calls under way.
pub const CONCURRENT: &str = "concurrent";

/// What tells the child that the code is to hold the files and lines that it was made of.
pub const LINES: &str = "lines";

/// What tells the child that the code is to compare each access with the end of its memory.
pub const COMPARED: &str = "compared";

/// What tells the child how many seconds of a processor it may take.
pub const CPU: &str = "cpu";

/// What tells the child how many bytes of address space it may take.
pub const MEMORY: &str = "memory";

/// What tells the child how large a module may be.
pub const MODULE: &str = "module";

/// Bytes of the largest machine code.
const LARGEST_CODE: u64 = 512 << 20;

/// Has a child compile each module, at the least priority and within limits: whoever asks, a daemon or
/// somebody at a terminal, a module is a stranger's.
pub struct Compiler {
    program: PathBuf,
    slots: Slots,
}

impl Compiler {
    /// Makes a compiler whose children are this very program.
    pub fn child() -> Compiler {
        // Not the path that the program had when it started: another version may lie there by now,
        // whose code this engine refuses. The kernel's link keeps to what is running.
        Compiler { program: PathBuf::from("/proc/self/exe"), slots: Slots::new() }
    }

    /// Leaves a core to the requests from now on, which are served.
    pub(super) fn serve(&self) {
        self.slots.serve();
    }

    /// Compiles a module for a target, which [`look`] has passed. Blocks for as long as that takes, which is
    /// bounded. `begin` is called once it is its turn.
    ///
    /// # Errors
    /// The module is not valid; the child came to a limit, and which.
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
        // SAFETY: `precompile` has returned these bytes in a child that is this very program, which
        // writes nothing else (`worker::work`) through a pipe that it alone holds (`child::compile`).
        Ok(unsafe { Artifact::trust(code) })
    }
}

/// Compiles a module in this process.
///
/// # Errors
/// It is not valid, or needs what the engines do not have.
pub(super) fn precompile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>> {
    let compiled = match Layer::of(wasm)? {
        Layer::Core => engine.precompile_module(wasm).context("not a valid module"),
        Layer::Component => engine.precompile_component(wasm).context("not a valid component"),
    };
    compiled.map_err(|error| features::lacking(wasm).map_or(error, wasmtime::Error::msg))
}
