//! The sandbox: the only place that knows wasmtime.

mod artifact;
mod body;
pub mod cache;
mod calls;
mod command;
pub mod compile;
mod component;
mod concurrent;
mod core;
mod environ;
mod files;
mod flavour;
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
mod service;
mod settings;
mod speaker;
mod stdio;
mod ticker;
mod trap;

pub use files::Files;
pub use flavour::Flavour;
pub use module::Module;
pub use sandbox::{Allocation, Code, Compilation, Digest, Sandbox, Source, WasiHttp03};
pub use settings::Stacks;
