//! Compiles a module in the current process, which is the child.

use wasmtime::error::Context as _;
use wasmtime::{Engine, Result};

use super::features;
use crate::wasm::engine::binary_kind::BinaryKind;

/// Compiles a module in this process.
///
/// # Errors
/// The module is invalid, or needs a feature that the engines do not have.
pub(in crate::wasm) fn precompile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>> {
    let compiled = match BinaryKind::of(wasm)? {
        BinaryKind::Core => engine.precompile_module(wasm).context("not a valid module"),
        BinaryKind::Component => engine.precompile_component(wasm).context("not a valid component"),
    };
    compiled.map_err(|error| features::lacking(wasm).map_or(error, wasmtime::Error::msg))
}
