//! The stores that a guest opens, with the numbers by which it knows them, and what else its host keeps for it.
//!
//! Floors, lowest first: `grants`; `records`; `core`, `draft`, `draft2`, `settings`.

mod core;
mod draft;
mod draft2;
mod grants;
mod records;
mod settings;

pub(in crate::wasm) use self::core::{MODULE, link as link_core};
pub(in crate::wasm) use self::grants::GuestStores;

use wasmtime::Result;
use wasmtime::component::Linker;

use super::component_state::State;

/// The packages of the interfaces, as prefixes of a component's imports.
pub(in crate::wasm) const PACKAGES: [&str; 3] = ["wasi:keyvalue/", "wasi:config/", "wasi:logging/"];

/// Adds the interfaces of components to a linker.
pub(in crate::wasm) fn link_component(linker: &mut Linker<State>) -> Result<()> {
    draft::link(linker)?;
    draft2::link(linker)?;
    settings::link(linker)
}
