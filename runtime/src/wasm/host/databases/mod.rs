//! The databases that a guest opens, with the numbers by which it knows them.
//!
//! Floors, lowest first: `grants`, `records`; `charged`; `core`, `spin2`, `spin3`, `postgres`.

mod charged;
mod core;
mod grants;
mod postgres;
mod records;
mod spin2;
mod spin3;

pub(in crate::wasm) use self::core::{MODULE, link as link_core};
pub(in crate::wasm) use self::grants::GuestDatabases;

use wasmtime::Result;
use wasmtime::component::Linker;

use super::component_state::State;

/// The interfaces, as prefixes of a component's imports.
pub(in crate::wasm) const INTERFACES: [&str; 3] = ["spin:sqlite/", "fermyon:spin/sqlite@", "spin:postgres/"];

/// Adds the interfaces of components to a linker.
pub(in crate::wasm) fn link_component(linker: &mut Linker<State>) -> Result<()> {
    spin2::link(linker)?;
    spin3::link(linker)?;
    postgres::link(linker)
}

/// Adds the interfaces of components that await their host to a linker of their engine.
pub(in crate::wasm) fn link_async_component(linker: &mut Linker<State>) -> Result<()> {
    spin3::link_async(linker)?;
    postgres::link_async(linker)
}
