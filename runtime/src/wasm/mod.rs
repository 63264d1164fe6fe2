//! The sandbox: the only place that knows wasmtime.

mod command;
mod core;
mod meter;
mod module;
mod sandbox;
mod stdio;
mod ticker;
mod trap;

pub use module::Module;
pub use sandbox::{Allocation, Code, Sandbox};
