//! The sandbox: the only place that knows wasmtime.

mod artifact;
mod body;
pub mod cache;
mod calls;
mod command;
pub mod compile;
mod component;
mod core;
mod environ;
mod files;
mod handles;
mod idle;
mod layer;
mod meter;
mod module;
mod opening;
mod outbound;
mod proxy;
mod retarget;
mod sandbox;
mod sealed;
mod settings;
mod stdio;
mod ticker;
mod trap;

pub use files::Files;
pub use module::Module;
pub use sandbox::{Allocation, Code, Compilation, Digest, Sandbox, Source};
