//! The WebAssembly sandbox, the only module that uses wasmtime.
//!
//! Floors, lowest first: `engine`; `cache`, `host`; `compile`, `kinds`; `async_engine`; `sandbox`;
//! `module`.

#[cfg(test)]
mod assumptions;
mod async_engine;
pub mod cache;
pub mod compile;
mod engine;
mod host;
mod kinds;
mod module;
mod sandbox;

pub use engine::allocation::Allocation;
pub use engine::binary_kind::BinaryKind;
pub use engine::engine_kind::EngineKind;
pub use engine::settings::{Addressing, Resetting, Room, Stacks, Target};
pub use host::cgi_script::Scripts;
pub use host::files::{Files, OwnDirs};
pub use host::mounted::Mounted;
pub use kinds::http::NO_PROGRAM;
pub use module::Module;
pub use sandbox::{Code, Compilation, Digest, ModuleBytes, Sandbox, WasiHttp03};
