//! Compiles modules in child processes of this executable.

use std::path::PathBuf;
use std::time::Instant;

use wasmtime::Result;

use super::flags::Work;
use super::slots::CompileSlots;
use super::{CompileLimits, spawn};
use crate::observe::latency::{LatencyHistogram, LatencySnapshot};
use crate::wasm::engine::artifact::Artifact;
use crate::wasm::engine::settings::Target;

/// The durations of all compilations, of those that failed too. Each one takes a process, so this costs nothing.
static DURATIONS: LatencyHistogram = LatencyHistogram::new();

/// Returns the distribution of the durations of all compilations since the start of the process.
pub fn durations() -> LatencySnapshot {
    DURATIONS.snapshot()
}

/// Compiles each module in a child process, at low priority and within limits. Modules are not trusted,
/// whether a daemon or a user at a terminal compiles them.
pub struct Compiler {
    program: PathBuf,
    slots: CompileSlots,
}

impl Compiler {
    /// Makes a compiler whose child processes run this executable.
    pub fn child() -> Compiler {
        // Not the path from which the executable was started: a new version may have been installed there,
        // and this engine would refuse its code. The kernel's link always refers to the running executable.
        Compiler { program: PathBuf::from("/proc/self/exe"), slots: CompileSlots::new() }
    }

    /// Reserves a core for requests from now on.
    pub(in crate::wasm) fn serve(&self) {
        self.slots.serve();
    }

    /// Compiles a module that [`look`](super::look) has accepted for a target. Blocks until the compiler
    /// ends, which is bounded by its limits. `begin` is called when the compilation starts.
    ///
    /// # Errors
    /// The module is invalid, or the compiler reached a limit, which the text names.
    pub(in crate::wasm) fn compile(
        &self,
        target: Target,
        wasm: &[u8],
        limits: &CompileLimits,
        begin: impl FnOnce(),
    ) -> Result<Artifact> {
        let _slot = self.slots.take(limits.memory);
        begin();
        let start = Instant::now();
        let code = self.run(Work::Compile, target, wasm, limits);
        DURATIONS.observe(start.elapsed());
        code
    }

    /// Finds the mistakes of a module that [`look`](super::look) has accepted, without compiling its functions. Returns
    /// a component of its imports alone, or `None` for a core module. Blocks.
    ///
    /// # Errors
    /// The module is invalid, needs a feature that the engines do not have, or has an entry point of a wrong type.
    pub(in crate::wasm) fn examine(
        &self,
        target: Target,
        wasm: &[u8],
        limits: &CompileLimits,
    ) -> Result<Option<Artifact>> {
        let _slot = self.slots.take(limits.memory);
        let imports = self.run(Work::Examine, target, wasm, limits)?;
        Ok((imports.sealed().len() > 0).then_some(imports))
    }

    fn run(&self, work: Work, target: Target, wasm: &[u8], limits: &CompileLimits) -> Result<Artifact> {
        let code = spawn::run(&self.program, work, target, wasm, limits)?;
        // SAFETY: `precompile` or `examine` returned these bytes in a child process of this same executable, from
        // wasmtime. The child writes nothing else to its stdout (`child_limits::work`), a pipe that only it holds
        // (`spawn::run`). An empty artifact is never loaded.
        Ok(unsafe { Artifact::trust(code) })
    }
}
