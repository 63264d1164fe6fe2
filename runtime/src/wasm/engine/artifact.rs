//! Machine code of our own making, on its way into the engine.

use std::io;

use wasmtime::component::Component;
use wasmtime::{Engine, Module, Result};

use super::sealed::Sealed;

/// What an engine of ours made of a module. It is run without a further look: whoever has one is
/// trusted like the daemon itself.
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

    /// Makes the code of a core module ready to be linked. Its pages are shared with the seal.
    ///
    /// # Errors
    /// It is the code of a component, or of an engine with other settings.
    pub(in crate::wasm) fn module(&self, engine: &Engine) -> Result<Module> {
        // SAFETY: the bytes came from a compiler, as every caller of `trust` says where it makes
        // them; they are mapped from a file that cannot change any more, which `Draft::seal` did.
        unsafe { Module::deserialize_open_file(engine, self.0.file()?) }
    }

    /// Makes the code of a component ready to be linked.
    ///
    /// # Errors
    /// It is the code of a core module, or of an engine with other settings.
    pub(in crate::wasm) fn component(&self, engine: &Engine) -> Result<Component> {
        let bytes: io::Result<Vec<u8>> = self.0.bytes();
        // SAFETY: the bytes came from a compiler, as every caller of `trust` says where it makes
        // them; the engine copies them before it returns.
        unsafe { Component::deserialize(engine, bytes?) }
    }
}
