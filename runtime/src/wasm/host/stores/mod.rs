//! The stores that a guest opens, with the numbers by which it knows them, and what else its host keeps for it.
//!
//! Floors, lowest first: `payer`; `grants`; `all_keys`, `records`; `core`, `draft`, `draft2`, `settings`, `settings_draft`, `spin2`,
//! `spin3`.

mod all_keys;
mod core;
mod draft;
mod draft2;
mod grants;
mod payer;
mod records;
mod settings;
mod settings_draft;
mod spin2;
mod spin3;

pub(in crate::wasm) use self::core::{MODULE, link as link_core};
pub(in crate::wasm) use self::grants::GuestStores;

use wasmtime::Result;
use wasmtime::component::Linker;

use super::component_state::State;

/// The packages of the interfaces, as prefixes of a component's imports.
pub(in crate::wasm) const PACKAGES: [&str; 7] = [
    "wasi:keyvalue/",
    "wasi:config/",
    "wasi:logging/",
    "fermyon:spin/key-value@",
    "fermyon:spin/variables@",
    "spin:key-value/",
    "spin:variables/",
];

/// Adds the interfaces of components to a linker.
pub(in crate::wasm) fn link_component(linker: &mut Linker<State>) -> Result<()> {
    draft::link(linker)?;
    draft2::link(linker)?;
    spin2::link(linker)?;
    settings::link(linker)?;
    settings_draft::link(linker)
}

/// Adds the interfaces of components that await their host to a linker of their engine.
pub(in crate::wasm) fn link_async_component(linker: &mut Linker<State>) -> Result<()> {
    spin3::link(linker)
}
