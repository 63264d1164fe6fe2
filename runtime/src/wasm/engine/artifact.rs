//! Machine code that we compiled, before an engine loads it.

use std::io;

use wasmtime::component::Component;
use wasmtime::{Engine, Module, Result};

use super::sealed::Sealed;

/// Machine code that one of our engines compiled from a module. It runs unchecked, so an `Artifact`
/// is trusted as much as the daemon itself.
pub(in crate::wasm) struct Artifact(Sealed);

impl Artifact {
    /// Takes machine code.
    ///
    /// # Safety
    /// The bytes are, unchanged, what `Engine::precompile_module` or `Engine::precompile_component`
    /// of any version of wasmtime has returned.
    pub(in crate::wasm) unsafe fn trust(code: Sealed) -> Artifact {
        Artifact(code)
    }

    pub(in crate::wasm) fn sealed(&self) -> &Sealed {
        &self.0
    }

    /// Loads the code of a core module. The engine maps the sealed pages; it does not copy them.
    pub(in crate::wasm) fn module(&self, engine: &Engine) -> Result<Module> {
        // SAFETY: the bytes came from a compiler, as every caller of `trust` says where it makes
        // them; they are mapped from a file that cannot change any more, which `Draft::seal` did.
        unsafe { Module::deserialize_open_file(engine, self.0.file()?) }
    }

    /// Loads the code of a component. The engine copies it.
    pub(in crate::wasm) fn component(&self, engine: &Engine) -> Result<Component> {
        let bytes: io::Result<Vec<u8>> = self.0.bytes();
        // SAFETY: the bytes came from a compiler, as every caller of `trust` says where it makes
        // them; the engine copies them before it returns.
        unsafe { Component::deserialize(engine, bytes?) }
    }
}
